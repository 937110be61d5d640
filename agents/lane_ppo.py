"""PPO that learned how closely to supervise: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3 import PPO

from kdgym.integrations.sb3 import SB3Agent
from kdgym.integrations.sb3_training import train_on_policy

STUDENTS = 64
HYPERPARAMETERS: dict[str, Any] = {
    "n_steps": 24,  # an episode
    "batch_size": 512,
    "n_epochs": 6,
    "gamma": 0.97,  # a note pays off until the end
    "gae_lambda": 0.95,
    "learning_rate": 1e-3,
    "ent_coef": 0.01,
    "policy_kwargs": {"net_arch": [64, 64]},
}


class Agent:
    """The trained teacher; ``lane_ppo:runs/lanes/model.zip`` on the command line."""

    actions = "discrete"

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.spaces = (observation_space, action_space)
        self.trained: SB3Agent | None = None

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip."""
        self.trained = SB3Agent.from_zip(path, *self.spaces)

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.int64]:
        if self.trained is None:
            raise ValueError(
                "The lane_ppo agent has to be trained first: kdgym train ID --agent lane_ppo --out DIR, then "
                "lane_ppo:DIR/model.zip."
            )
        return self.trained.act(observation)


def train(
    env_id: str, steps: int, out: Path, seed: int = 0, report: Callable[[int, str], None] = lambda done, text: None
) -> Path:
    """Train on streams of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed."""

    def build(vec_env: Any, seed: int) -> PPO:
        return PPO("MultiInputPolicy", vec_env, seed=seed, **HYPERPARAMETERS)

    settings = {"actions": "discrete"}
    return train_on_policy(build, env_id, steps, out, seed=seed, num_envs=STUDENTS, report=report, settings=settings)
