"""Snapshots of lessons: the states of kdgym's own environments. So a teacher's practice, too, may start in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.core import PopulationEnv
from kdgym.wrappers.states import LessonState
from kdgym.wrappers.store import SnapshotStore, describe, flat_observation, returns_to_go

Array = npt.NDArray[Any]
Act = Callable[[Any], Any]


def collect_lessons(
    envs: PopulationEnv,
    act: Act,
    every: int = 1,
    seed: int = 0,
    discount: float = 1.0,
    policy: str = "",
    progress: Callable[[], object] = lambda: None,
) -> SnapshotStore:
    """Let a teacher give every student of a population a lesson, and take snapshots at the start and after ``every`` steps.

    A snapshot's value is what the rest of its own lesson brought, discounted.

    Args:
        envs: the students; made with ``autoreset=False``, and with the settings that snapshots are to be used with.
        act: observations of the population -> actions.
        every: steps between two snapshots of a lesson.
        seed: of the first student.
        discount: of rewards, a step.
        policy: who taught, for the store's provenance.
        progress: called after every step.

    Raises:
        ValueError: ``every`` is not positive.
    """
    if every < 1:
        raise ValueError(f"every is {every}; give a number of steps from 1 up.")
    space = envs.single_observation_space
    observation, _ = envs.reset(seed=seed)
    kept: list[tuple[int, Array, list[Array]]] = []
    rewards, step, over = [], 0, np.zeros(envs.num_envs, dtype=bool)
    while not over.all():
        if step % every == 0:
            seen = [flat_observation(space, envs.row(observation, i)) for i in range(envs.num_envs)]
            kept.append((step, envs.snapshot(luck=False).packed().numpy(), seen))
        observation, reward, over, *_ = envs.step(act(observation))
        rewards.append(reward)
        step += 1
        progress()
    left = returns_to_go(rewards, discount)
    everyone, at = np.arange(envs.num_envs), np.array([at for at, *_ in kept])
    made = {"policy": policy, "seed": seed, "episodes": envs.num_envs, "every": every, "discount": discount}
    return SnapshotStore(
        state=np.concatenate([state for _, state, _ in kept]),
        observation=np.concatenate([seen for *_, seen in kept]),
        value=left[at].reshape(-1),
        episode=np.tile(everyone, len(kept)),
        step=at.repeat(envs.num_envs),
        provenance={**describe(envs, LessonState()), **made, "environment_steps": step * envs.num_envs},
    )
