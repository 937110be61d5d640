"""Stable-Baselines3 policies for the numeric levels: one small network shared by all sources, or by all subskills."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableMultiInputActorCriticPolicy
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from torch import Tensor, nn


class _Torso(nn.Module):
    """One small network for every pair, which also sees the mean of its skill's pairs and the mean of all."""

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


class SharedExtractor(nn.Module):
    """Actor and critic over K skills x M sources or subskills (*pairs*).

    What it knows of one pair it knows of all (Zaheer et al., Deep Sets, 2017). The actor gives the whole ``overall`` numbers,
    and then every skill ``per_skill`` and every pair ``per_pair``, laid out skill by skill as all action spaces are.

    Args:
        observation_space: of a numeric level; ``target`` says what K is, the widest entry what K * M is.
        action_space: a box or ``MultiDiscrete`` with as many entries a skill, and some overall, told apart by their sizes.
        width: of both networks.

    Raises:
        ValueError: the action space is none of these.
    """

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any], width: int = 64) -> None:
        super().__init__()
        self.sizes = [get_flattened_obs_dim(space) for space in observation_space.spaces.values()]
        self.skills, pairs = get_flattened_obs_dim(observation_space["target"]), max(self.sizes)
        self.members = pairs // self.skills
        if isinstance(action_space, spaces.MultiDiscrete):
            outputs = int(action_space.nvec.sum())
        elif isinstance(action_space, spaces.Box):
            outputs = action_space.shape[0]
        else:
            raise ValueError(f"The shared policy acts in a Box or a MultiDiscrete, not in {action_space}.")
        self.per_pair = 0 if isinstance(action_space, spaces.MultiDiscrete) else 1
        self.per_skill, self.overall = divmod(outputs - self.per_pair * pairs, self.skills)
        self.actor, self.critic = _Torso(len(self.sizes), width), _Torso(len(self.sizes), width)
        self.score = nn.Linear(width, self.per_skill + self.per_pair + self.overall)
        self.latent_dim_pi, self.latent_dim_vf = outputs, width

    def _grid(self, flat: Tensor) -> Tensor:
        """What is known of every pair, its skill and the whole: [B, sum of sizes] -> [B, K, M, features]."""
        columns = []
        for part in flat.split(self.sizes, dim=1):
            known = part.unsqueeze(2) if part.shape[1] == 1 else part.view(len(part), self.skills, -1)
            columns.append(known.expand(-1, self.skills, self.members))
        return torch.stack(columns, dim=-1)

    def forward_actor(self, flat: Tensor) -> Tensor:
        score = self.score(self.actor(self._grid(flat)))
        skill, pair, whole = score.split([self.per_skill, self.per_pair, self.overall], dim=-1)
        pair = pair.flatten(2)
        if not self.per_skill:
            pair = pair - pair.mean((1, 2), keepdim=True)  # shares do not change when all actions shift alike
        return torch.cat([whole.mean((1, 2)), torch.cat([skill.mean(2), pair], dim=2).flatten(1)], dim=1)

    def forward_critic(self, flat: Tensor) -> Tensor:
        value: Tensor = self.critic(self._grid(flat)).mean((1, 2))
        return value

    def forward(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(flat), self.forward_critic(flat)


class _ActsByScores:
    """Makes the extractor's scores the parameters of the action, in a policy that SB3 builds."""

    def _build_mlp_extractor(self) -> None:
        policy: Any = self
        width = policy.net_arch[0] if isinstance(policy.net_arch, list) else 64
        extractor = SharedExtractor(policy.observation_space, policy.action_space, width)
        self.mlp_extractor: Any = extractor.to(policy.device)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]  # of the policy beside it
        policy: Any = self
        policy.action_net = nn.Identity()
        nn.init.orthogonal_(policy.mlp_extractor.score.weight, 0.01)  # as SB3 starts its own action_net
        policy.optimizer = policy.optimizer_class(policy.parameters(), lr=lr_schedule(1), **policy.optimizer_kwargs)


class SharedPolicy(_ActsByScores, MultiInputActorCriticPolicy):
    """For PPO."""


class MaskableSharedPolicy(_ActsByScores, MaskableMultiInputActorCriticPolicy):
    """For sb3-contrib's MaskablePPO."""
