"""What runs in the processes of a `kdgym.integrations.ray.RayPopulation`, and how their answers become one. Needs no Ray."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from kdgym.core import StudentSnapshot
from kdgym.core.population import Array, Info


@dataclass(frozen=True)
class Description:
    """What the driver has to know of the environment its workers made."""

    observation_space: spaces.Dict
    action_space: spaces.Box
    settings: dict[str, Any]
    metadata: dict[str, Any]


class Worker:
    """One shard, in a process of its own. Everything it sends is in host memory."""

    def make(self, env_id: str, num_envs: int, threads: int, settings: dict[str, Any]) -> Description:
        torch.set_num_threads(threads)
        envs: Any = gym.make_vec(qualified(env_id), num_envs=num_envs, **settings)
        self.envs = envs
        return Description(envs.single_observation_space, envs.single_action_space, envs.settings, envs.metadata)

    def reset(
        self, seeds: list[int] | None, mask: npt.NDArray[np.bool_], restart: str
    ) -> tuple[dict[str, Array], Info, StudentSnapshot]:
        if not mask.any():
            return self.envs.observe(), {}, self.snapshot()
        observation, info = self.envs.reset(seed=seeds, options={"reset_mask": mask, "restart": restart})
        return observation, info, self.snapshot()

    def step(self, actions: Array, keep: bool) -> tuple[Any, StudentSnapshot | None]:
        return self.envs.step(actions), self.snapshot() if keep else None

    def snapshot(self) -> StudentSnapshot:
        snapshot = self.envs.snapshot()
        return StudentSnapshot(snapshot.settings, [row.cpu() for row in snapshot.rows])

    def restore(self, snapshot: StudentSnapshot, lessons: Sequence[Array]) -> npt.NDArray[np.bool_]:
        """Put the shard back and repeat what happened since; tells which students have finished their episode."""
        self.envs.restore(snapshot)
        for actions in lessons:
            self.envs.step(actions)
        done: npt.NDArray[np.bool_] = self.envs.state["done"].cpu().numpy().astype(bool)
        return done

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.envs, method)(*arguments)

    def pid(self) -> int:
        return os.getpid()


def qualified(env_id: str) -> str:
    """The id with the module whose import registers it, because a fresh process has imported nothing."""
    return env_id if ":" in env_id else f"kdgym:{env_id}"


def merge(parts: Sequence[dict[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    """Nested dictionaries of arrays [students, ...], one a shard, as one dictionary of arrays [S, ...].

    Where a shard lacks an entry that another has, its students get zeros, or None in an array of objects: as in a
    population, whose info says nothing of students it does not speak of.

    Args:
        parts: what each shard answered.
        sizes: number of students of each shard.
    """
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for part in parts for key in part):
        given = [part.get(key) for part in parts]
        example = next(value for value in given if value is not None)
        if isinstance(example, dict):
            merged[key] = merge([value or {} for value in given], sizes)
            continue
        absent: Any = None if example.dtype == object else 0
        merged[key] = np.concatenate(
            [
                np.full((size, *example.shape[1:]), absent, example.dtype) if value is None else value
                for size, value in zip(sizes, given, strict=True)
            ]
        )
        if (
            example.dtype == object
        ):  # dictionaries of arrays, which otherwise stay in memory shared with other processes
            for i, entry in enumerate(merged[key]):
                merged[key][i] = entry and {name: value.copy() for name, value in entry.items()}
    return merged
