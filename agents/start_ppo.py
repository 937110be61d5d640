"""PPO that learned where practice starts: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3 import PPO

from kdgym.integrations.sb3 import SB3Agent
from kdgym.integrations.sb3_training import train_on_policy

STUDENTS = 32
HYPERPARAMETERS: dict[str, Any] = {
    "n_steps": 12,  # an episode, so that a rollout ends with it
    "batch_size": 128,
    "n_epochs": 8,
    "gamma": 0.97,  # practice near the goal pays when ordinary starts succeed, steps later
    "gae_lambda": 0.95,
    "learning_rate": 2e-3,
    "target_kl": 0.1,
    "policy_kwargs": {"log_std_init": -0.7, "net_arch": [32]},
}


class Agent:
    """The trained teacher; ``start_ppo:runs/starts/model.zip`` on the command line."""

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.spaces = (observation_space, action_space)
        self.trained: SB3Agent | None = None

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip."""
        self.trained = SB3Agent.from_zip(path, *self.spaces)

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        if self.trained is None:
            raise ValueError(
                "The start_ppo agent has to be trained first: kdgym train ID --agent start_ppo --out DIR, then "
                "start_ppo:DIR/model.zip."
            )
        return self.trained.act(observation)


def train(
    env_id: str, steps: int, out: Path, seed: int = 0, report: Callable[[int, str], None] = lambda done, text: None
) -> Path:
    """Train on students of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed."""

    def build(vec_env: Any, seed: int) -> PPO:
        return PPO("MultiInputPolicy", vec_env, seed=seed, **HYPERPARAMETERS)

    return train_on_policy(build, env_id, steps, out, seed=seed, num_envs=STUDENTS, report=report, settings={})
