"""Teachers that Stable-Baselines3 trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from stable_baselines3 import PPO

from kdgym.integrations.sb3 import SB3Agent, as_vec_env
from kdgym.teaching.base import Floats, Teacher
from kdgym.teaching.sb3_training import Report, train_on_policy


class SB3Teacher(Teacher):
    """A policy of Stable-Baselines3; ``NAME:runs/NAME/model.zip`` on the command line.

    Attributes:
        algorithm: class of the on-policy algorithm.
        network: the policy, as the algorithm takes it.
        hyperparameters: of the algorithm.
        students: taught side by side while it learns.
        settings: of the environment while it learns.
        adapt: from the population to what it is trained on; see `train_on_policy`.
    """

    algorithm: ClassVar[Any] = PPO
    network: ClassVar[Any] = "MultiInputPolicy"
    hyperparameters: ClassVar[Mapping[str, Any]] = {}
    students: ClassVar[int] = 64
    settings: ClassVar[Mapping[str, Any]] = {}
    adapt: ClassVar[Any] = staticmethod(as_vec_env)
    trained: SB3Agent | None = None

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip."""
        self.trained = SB3Agent.from_zip(path, self.observation_space, self.action_space)

    def act(self, observation: dict[str, Floats]) -> Any:
        """The policy's actions."""
        return self.policy().act(observation)

    def policy(self) -> SB3Agent:
        """What was loaded.

        Raises:
            ValueError: nothing was.
        """
        if self.trained is None:
            name = type(self).__module__.rpartition(".")[2]
            raise ValueError(
                f"The {name} agent has to be trained first: kdgym train ID --agent {name} --out DIR, "
                f"then {name}:DIR/model.zip."
            )
        return self.trained

    @classmethod
    def train(
        cls,
        env_id: str,
        steps: int,
        out: Path,
        seed: int = 0,
        report: Report = lambda done, text: None,
        **settings: Any,
    ) -> Path:
        """Train on students of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed.

        ``settings`` come on top of those of the class.
        """

        def build(vec_env: Any, seed: int) -> Any:
            return cls.algorithm(cls.network, vec_env, seed=seed, **cls.hyperparameters)

        return train_on_policy(
            build,
            env_id,
            steps,
            out,
            seed=seed,
            num_envs=cls.students,
            report=report,
            settings={**cls.settings, **settings},
            adapt=cls.adapt,
        )
