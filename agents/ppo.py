"""PPO: a teacher that learned to teach (Schulman et al., 2017), by Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3 import PPO

from kdgym.integrations.sb3 import SB3Agent
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.integrations.sb3_training import train_on_policy

STUDENTS = 64
# A lesson shows its effect in the next examination, so a short horizon (small gamma) loses little and removes most of the
# noise: the exploration noise of one step explains the return with t = 4.5 a rollout at gamma 0, with 1.5 at gamma 0.95.
HYPERPARAMETERS: dict[str, Any] = {
    "n_steps": 12,  # an episode, so that a rollout ends with it
    "batch_size": 256,
    "n_epochs": 8,
    "gamma": 0.5,
    "gae_lambda": 0.9,
    "learning_rate": 2e-3,
    "clip_range": 0.4,
    "target_kl": 0.1,  # ends an update early; without it a first update was seen to move by a KL of 187 and never recover
    "policy_kwargs": {"log_std_init": -0.7},
}


class Agent:
    """The trained teacher; ``ppo:runs/ppo/model.zip`` on the command line."""

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.spaces = (observation_space, action_space)
        self.trained: SB3Agent | None = None

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip."""
        self.trained = SB3Agent.from_zip(path, *self.spaces)

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        if self.trained is None:
            raise ValueError(
                "The ppo agent has to be trained first: kdgym train ID --agent ppo --out DIR, then ppo:DIR/model.zip."
            )
        return self.trained.act(observation)


def train(
    env_id: str, steps: int, out: Path, seed: int = 0, report: Callable[[int, str], None] = lambda done, text: None
) -> Path:
    """Train on students of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed."""

    def build(vec_env: Any, seed: int) -> PPO:
        return PPO(SharedPolicy, vec_env, seed=seed, **HYPERPARAMETERS)

    return train_on_policy(
        build, env_id, steps, out, seed=seed, num_envs=STUDENTS, report=report, settings={"reward": "log_loss"}
    )
