"""Teachers that Stable-Baselines3 trains."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from stable_baselines3 import PPO

from kdgym.integrations.sb3 import SB3Agent, as_vec_env
from kdgym.settings import Settings
from kdgym.teaching.base import Floats, Teacher
from kdgym.teaching.sb3_training import Report, train_on_policy


class Hyperparameters(Settings):
    """What may be chosen for one training run: hyper-parameters of the algorithm by SB3's names, and three more.

    Attributes:
        students: taught side by side.
        width: of every hidden layer of the policy.
        log_std_init: logarithm of the standard deviation of a Gaussian policy at first.
    """

    noun = "hyper-parameter"
    learning_rate: float | None = Field(None, gt=0)
    gamma: float | None = Field(None, ge=0, le=1)
    gae_lambda: float | None = Field(None, ge=0, le=1)
    n_steps: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=2)
    n_epochs: int | None = Field(None, ge=1)
    clip_range: float | None = Field(None, gt=0)
    target_kl: float | None = Field(None, gt=0)
    ent_coef: float | None = Field(None, ge=0)
    vf_coef: float | None = Field(None, ge=0)
    max_grad_norm: float | None = Field(None, gt=0)
    students: int | None = Field(None, ge=1)
    width: int | None = Field(None, ge=1)
    log_std_init: float | None = None

    def on_top_of(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of an algorithm, with these in place of those ``given``."""
        chosen = self.model_dump(exclude={"students", "width", "log_std_init"}, exclude_none=True)
        policy = dict(given.get("policy_kwargs", {}))
        if self.width is not None:
            policy["net_arch"] = [self.width] * len(policy.get("net_arch", [64, 64]))
        if self.log_std_init is not None:
            policy["log_std_init"] = self.log_std_init
        return {**given, **chosen, **({"policy_kwargs": policy} if policy else {})}


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

    def reset(self, observation: dict[str, Floats]) -> None:
        """An episode begins: recurrent policies forget the last one."""
        self.policy().reset(observation)

    def act(self, observation: dict[str, Floats]) -> Any:
        """The policy's actions."""
        return self.policy().act(observation)

    def policy(self) -> SB3Agent:
        """What was loaded.

        Raises:
            ValueError: nothing was.
        """
        if self.trained is None:
            raise self._untrained("model.zip")
        return self.trained

    @classmethod
    def train(
        cls,
        env_id: str,
        steps: int,
        out: Path,
        seed: int = 0,
        report: Report = lambda done, text: None,
        settings: Mapping[str, Any] | None = None,
        hyper: Mapping[str, Any] | None = None,
    ) -> Path:
        """Train on students of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed.

        ``settings`` of the environment and ``hyper``, as `Hyperparameters` has them, come on top of those of the class. The
        policy is on the students' ``device`` where one is given.

        Raises:
            ValueError: a hyper-parameter is unknown, out of range, or not one of this algorithm.
        """
        chosen = Hyperparameters.parse(dict(hyper or {}))
        options = chosen.on_top_of(cls.hyperparameters)
        foreign = options.keys() - inspect.signature(cls.algorithm).parameters.keys()
        if foreign:
            raise ValueError(
                f"{cls.algorithm.__name__} has no hyper-parameter {', '.join(sorted(foreign))}; leave it out."
            )

        env_settings = {**cls.settings, **(settings or {})}

        def build(vec_env: Any, seed: int) -> Any:
            return cls.algorithm(cls.network, vec_env, seed=seed, device=env_settings.get("device", "auto"), **options)

        return train_on_policy(
            build,
            env_id,
            steps,
            out,
            seed=seed,
            num_envs=chosen.students or cls.students,
            report=report,
            settings=env_settings,
            hyperparameters=options,
            adapt=cls.adapt,
        )
