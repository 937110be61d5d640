"""Snapshots of kdgym's own environments, so that teachers in training may start in the middle of an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.core import PopulationEnv
from kdgym.wrappers.states import PopulationState
from kdgym.wrappers.store import SnapshotStore, describe, flat_observation, returns_to_go

Array = npt.NDArray[Any]
Act = Callable[[Any], Any]


def collect_population_snapshots(
    envs: PopulationEnv,
    act: Act,
    every: int = 1,
    seed: int = 0,
    discount: float = 1.0,
    policy: str = "",
    progress: Callable[[], object] = lambda: None,
) -> SnapshotStore:
    """Let a teacher teach a population for an episode, and take snapshots of every student at the start and every few steps.

    A snapshot's value is the discounted return of the rest of its own episode.

    Args:
        envs: the students; made with ``autoreset=False``, and with the settings that snapshots are to be used with.
        act: observations of the population -> actions; told of every step where it has ``after_step(reward, done)``.
        every: steps between two snapshots.
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
    rewards, step, done = [], 0, np.zeros(envs.num_envs, dtype=bool)
    while not done.all():
        if step % every == 0:
            flat = [flat_observation(space, envs.row(observation, i)) for i in range(envs.num_envs)]
            kept.append((step, envs.snapshot(random_streams=False).packed().numpy(), flat))
        observation, reward, done, *_ = envs.step(act(observation))
        if hasattr(act, "after_step"):
            act.after_step(reward, done)
        rewards.append(reward)
        step += 1
        progress()
    left = returns_to_go(rewards, discount)
    everyone, at = np.arange(envs.num_envs), np.array([at for at, *_ in kept])
    made = {"policy": policy, "seed": seed, "episodes": envs.num_envs, "every": every, "discount": discount}
    return SnapshotStore(
        state=np.concatenate([state for _, state, _ in kept]),
        observation=np.concatenate([flat for *_, flat in kept]),
        value=left[at].reshape(-1),
        episode=np.tile(everyone, len(kept)),
        step=at.repeat(envs.num_envs),
        provenance={**describe(envs, PopulationState()), **made, "environment_steps": step * envs.num_envs},
    )
