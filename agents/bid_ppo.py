"""PPO for the teachers of a classroom: independent learners that share one policy, by Stable-Baselines3.

``kdgym train kdgym/Classroom-Math-v0 --agent bid_ppo --out DIR`` trains selfish ones; ``kdgym classroom anarchy`` trains one
policy for every degree of common interest. A step is a step of one teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3 import PPO

from kdgym.integrations.sb3 import SB3Agent
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.integrations.sb3_teachers import TeachersVecEnv
from kdgym.integrations.sb3_training import train_on_policy

CLASSROOMS = 64
HYPERPARAMETERS: dict[str, Any] = {
    "n_steps": 12,  # an episode, so that a rollout ends with it
    "batch_size": 768,
    "n_epochs": 8,
    "gamma": 0.5,  # see agents/ppo.py
    "gae_lambda": 0.9,
    "learning_rate": 2e-3,
    "clip_range": 0.4,
    "target_kl": 0.1,
    "policy_kwargs": {"log_std_init": -0.7},
}


class Agent:
    """The trained teachers; ``bid_ppo:runs/bid-ppo/model.zip`` on the command line."""

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.bids = action_space
        self.trained: SB3Agent | None = None

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip."""
        self.trained = SB3Agent.from_zip(path, self.bids.seen_space(), self.bids.acted_space())

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        if self.trained is None:
            raise ValueError(
                "The bid_ppo agent has to be trained first: kdgym train ID --agent bid_ppo --out DIR, then "
                "bid_ppo:DIR/model.zip."
            )
        return self.trained.act(self.bids.rows(observation)).reshape(len(observation["time"]), -1)


def train(
    env_id: str,
    steps: int,
    out: Path,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    mixing: float = 0.0,
) -> Path:
    """Train on classrooms of the training pool; returns SB3's zip. See `train_on_policy` for what is kept and resumed."""

    def build(vec_env: Any, seed: int) -> PPO:
        return PPO(SharedPolicy, vec_env, seed=seed, **HYPERPARAMETERS)

    settings = {"reward": "log_loss", "mixing": mixing}
    return train_on_policy(
        build,
        env_id,
        steps,
        out,
        seed=seed,
        num_envs=CLASSROOMS,
        report=report,
        settings=settings,
        adapt=TeachersVecEnv,
    )
