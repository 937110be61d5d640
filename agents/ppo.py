"""PPO: a teacher that learned to teach (Schulman et al., 2017), by Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from torch import Tensor, nn

from kdgym.integrations.sb3 import SB3Agent
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


class _Torso(nn.Module):
    """One small network for every source, which also sees the mean of its skill's sources and the mean of all."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, width)
        self.second = nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, M, features] -> [B, K, M, width]."""
        h = torch.tanh(self.first(x))
        skill = h.mean(2, keepdim=True).expand_as(h)
        everything = h.mean((1, 2), keepdim=True).expand_as(h)
        return torch.tanh(self.second(torch.cat([h, skill, everything], dim=-1)))


class _SharedExtractor(nn.Module):
    """Actor and critic over sources: what it knows of one source it knows of all (Zaheer et al., Deep Sets, 2017)."""

    def __init__(self, sizes: list[int], pairs: int, width: int = 64) -> None:
        super().__init__()
        self.sizes, self.pairs = sizes, pairs
        self.skills = max(size for size in sizes if size < pairs)
        self.actor, self.critic = _Torso(len(sizes), width), _Torso(len(sizes), width)
        self.score = nn.Linear(width, 1)
        self.latent_dim_pi, self.latent_dim_vf = pairs, width

    def _grid(self, flat: Tensor) -> Tensor:
        sources = self.pairs // self.skills
        columns = [
            part.view(-1, self.skills, sources if part.shape[1] == self.pairs else 1).expand(-1, self.skills, sources)
            if part.shape[1] > 1
            else part.unsqueeze(2).expand(-1, self.skills, sources)
            for part in flat.split(self.sizes, dim=1)
        ]
        return torch.stack(columns, dim=-1)

    def forward_actor(self, flat: Tensor) -> Tensor:
        score: Tensor = self.score(self.actor(self._grid(flat))).flatten(1)
        return score - score.mean(1, keepdim=True)  # shares do not change when all actions shift alike

    def forward_critic(self, flat: Tensor) -> Tensor:
        value: Tensor = self.critic(self._grid(flat)).mean((1, 2))
        return value

    def forward(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(flat), self.forward_critic(flat)


class SharedPolicy(MultiInputActorCriticPolicy):
    """SB3's policy for Dict observations with one network shared by all sources."""

    def _build_mlp_extractor(self) -> None:
        assert isinstance(self.observation_space, spaces.Dict)
        assert isinstance(self.action_space, spaces.Box)
        sizes = [get_flattened_obs_dim(space) for space in self.observation_space.spaces.values()]
        self.mlp_extractor: Any = _SharedExtractor(sizes, self.action_space.shape[0])

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        nn.init.orthogonal_(self.mlp_extractor.score.weight, 0.01)  # as SB3 starts its own action_net
        optimiser: Any = self.optimizer_class
        self.optimizer = optimiser(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


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
