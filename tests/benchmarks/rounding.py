"""How far students of a population come from the same students taught alone, by the same random actions.

Sums are rounded otherwise in another company; where students sample actions, this decides one sooner or later.

    python tests/benchmarks/rounding.py --students 12 kdgym/Snapshot-CartPole-v0 kdgym/Snapshot-Pendulum-v0
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import kdgym  # noqa: F401  # registers the environments


def rewards(env_id: str, seed: int, actions: np.ndarray) -> np.ndarray:
    """Rewards [steps, S] of students ``seed`` and following, under actions [steps, S, n]."""
    envs: Any = gym.make_vec(env_id, num_envs=actions.shape[1], autoreset=False)
    envs.reset(seed=seed)
    return np.stack([envs.step(action)[1] for action in actions])


def row(env_id: str, students: int) -> str:
    """A line of the table in docs/snapshots.md."""
    probe: Any = gym.make_vec(env_id, num_envs=students)
    shape = (probe.steps, *probe.action_space.shape)
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    together = rewards(env_id, 0, actions)
    alone = np.concatenate([rewards(env_id, i, actions[:, i : i + 1]) for i in range(students)], axis=1)
    apart, returns = np.abs(together - alone), (together - alone).sum(0)
    others = (apart > 0).any(0)
    first = int((apart > 0)[:, others].argmax(0).min()) + 1 if others.any() else "-"
    mean, error = returns.mean(), returns.std() / students**0.5
    return f"| {env_id} | {others.sum()} of {students} | {first} | {apart.max():.2f} | {mean:+.3f} +- {error:.3f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="+")
    parser.add_argument("--students", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for env_id in arguments.ids:
        print(row(env_id, arguments.students), flush=True)  # noqa: T201
