"""A lesson of every family that touches all of its API, for devices other than the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym.core import StudentSnapshot

STUDENTS = 3
COURSE: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 4, "test_items": 4, "engine": "torch"}
STARTS: dict[str, Any] = {
    "steps": 2,
    "updates": 1,
    "actors": 2,
    "rollout": 8,
    "budget": 3000.0,
    "validation_starts": 3,
    "test_starts": 3,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "skill list": ("kdgym/DataGen-Math-v0", COURSE),
    "misconceptions": ("kdgym/DataGen-Math-v0", {**COURSE, "misconceptions": 2}),
    "programs": ("kdgym/DataGen-Code-v0", COURSE),
    "pictures": ("kdgym/DataGen-VQA-v0", COURSE),
    "open-ended": ("kdgym/DataGen-Math-OpenEnded-v0", COURSE),
    "skill tree": ("kdgym/DataGen-Math-SkillTree-v0", {**COURSE, "actions": "discrete"}),
    "classroom": ("kdgym/Classroom-Math-v0", COURSE),
    "tutoring": ("kdgym/Tutoring-Math-v0", COURSE),
    "orchestrate": ("kdgym/Orchestrate-Math-v0", {"tasks": 4}),
    "feedback": ("kdgym/Feedback-Math-v0", {"steps": 2, "engine": "torch"}),
    "snapshot": ("kdgym/Snapshot-PointMaze-v0", STARTS),
}


def make(name: str, device: str) -> Any:
    """A population of a family on a device."""
    env_id, settings = FAMILIES[name]
    return gym.make_vec(env_id, num_envs=STUDENTS, device=device, autoreset=False, **settings)


def play(envs: Any, folder: Path) -> list[np.ndarray]:
    """An episode of random actions and what else there is to ask; all numbers that come of it.

    A student's state goes to a file in ``folder`` and, from there, into another student.
    """
    envs.action_space.seed(0)
    heard: list[Any] = [envs.reset(seed=0)[0]]
    for _ in range(envs.steps):
        observation, reward, *_ = envs.step(envs.action_space.sample())
        heard += [observation, reward]
    heard += [envs.examine("test"), envs.score(), envs.outcome(), envs.ledger()]
    one = envs.snapshot(1)
    one.save(folder / "student.safetensors")
    envs.restore(StudentSnapshot.load(folder / "student.safetensors"), np.array([2]))
    envs.restore(one.unpacked(one.packed()), np.array([0]), random_streams=False)
    heard += [envs.observe(), envs.branch(2).observe()]
    chosen = np.arange(STUDENTS) == 1
    heard.append(envs.reset(options={"reset_mask": chosen, "restart": "continue"})[0])
    envs.bill("teacher", tokens=3.0)
    envs.lesson(0)
    return list(map(np.asarray, _leaves(heard)))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in _leaves(value[key])]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def states(envs: Any) -> list[torch.Tensor]:
    """The whole state of a population."""
    return list(envs.state.buffers.values())
