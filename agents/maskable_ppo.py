"""PPO on the tree's discrete choices, with those masked out that would have no effect (Huang and Ontañón, "A closer look at
invalid action masking in policy gradient algorithms", FLAIRS 2022), by sb3-contrib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sb3_contrib import MaskablePPO

from kdgym.integrations.sb3 import SB3Agent
from kdgym.integrations.sb3_policies import MaskableSharedPolicy
from kdgym.integrations.sb3_training import train_on_policy

STUDENTS = 64
# As agents/ppo.py, where the reasons are; nothing was searched for the tree.
HYPERPARAMETERS: dict[str, Any] = {
    "n_steps": 12,
    "batch_size": 256,
    "n_epochs": 8,
    "gamma": 0.5,
    "gae_lambda": 0.9,
    "learning_rate": 2e-3,
    "clip_range": 0.4,
    "target_kl": 0.1,
}


class Agent:
    """The trained teacher; ``maskable_ppo:runs/maskable/model.zip`` on the command line."""

    actions = "discrete"  # the runner makes the environment so

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.spaces = (observation_space, action_space)
        self.trained: SB3Agent | None = None

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip."""
        self.trained = SB3Agent.from_zip(path, *self.spaces)

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.int64]:
        if self.trained is None:
            raise ValueError(
                "The maskable_ppo agent has to be trained first: kdgym train ID --agent maskable_ppo --out DIR, then "
                "maskable_ppo:DIR/model.zip."
            )
        masks = self.spaces[1].masks(observation["open"], observation["allocation"])
        return self.trained.act(observation, masks)


def train(
    env_id: str, steps: int, out: Path, seed: int = 0, report: Callable[[int, str], None] = lambda done, text: None
) -> Path:
    """Train on students of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed."""

    def build(vec_env: Any, seed: int) -> MaskablePPO:
        return MaskablePPO(MaskableSharedPolicy, vec_env, seed=seed, **HYPERPARAMETERS)

    settings = {"reward": "log_loss", "actions": "discrete"}
    return train_on_policy(build, env_id, steps, out, seed=seed, num_envs=STUDENTS, report=report, settings=settings)
