"""Snapshots of kdgym's own environments, so that teachers in training may start in the middle of an episode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from kdgym.core import PopulationEnv
from kdgym.wrappers.samplers import Sampler, UniformSampler
from kdgym.wrappers.snapshot_reset import check_lengths
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


class VectorSnapshotReset(gym.vector.VectorWrapper):
    """`SnapshotReset` of a whole population: episodes start from snapshots until ``until_step``, and ordinarily from then on.

    A student that takes the state of a snapshot keeps its own random streams. Steps are counted over all students.
    ``info["snapshot"]`` is the snapshot that each current episode started from, int64 [S]; -1 is an ordinary start.

    Args:
        envs: what ``gym.make_vec`` returns for a kdgym id, with same-step autoreset.
        store, sampler, horizon, until_step: see `SnapshotReset`.

    Raises:
        TypeError: ``envs`` is not such a population.
        SnapshotMismatchError: the snapshots belong to another environment, version, settings, or space.
        ValueError: horizon or until_step are not positive.
    """

    def __init__(
        self,
        envs: gym.vector.VectorEnv[Any, Any, Any],
        store: SnapshotStore,
        sampler: Sampler | None = None,
        horizon: int | None = None,
        until_step: int | None = None,
    ) -> None:
        super().__init__(envs)
        mode = envs.metadata.get("autoreset_mode")
        if not isinstance(envs.unwrapped, PopulationEnv) or mode is not gym.vector.AutoresetMode.SAME_STEP:
            raise TypeError(
                f"VectorSnapshotReset takes a population of kdgym's with autoreset, but got {type(envs.unwrapped).__name__}; "
                "for other environments use SnapshotReset as a wrapper of each."
            )
        check_lengths(horizon=horizon, until_step=until_step)
        self.population: PopulationEnv = envs.unwrapped
        store.require(envs, PopulationState())
        self.store, self.sampler = store, sampler or UniformSampler(store)
        self.horizon, self.until_step = horizon, until_step
        self._steps = 0
        self._start = np.full(self.num_envs, -1)
        self._age = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start episodes at snapshots, or ordinarily; see `PopulationEnv.reset`."""
        _, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        if seed is not None or not hasattr(self, "_rng"):
            given = [seed] if isinstance(seed, int | None) else list(seed)
            known = [number for number in given if number is not None]
            self._rng = np.random.default_rng(known or None)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        self._begin(np.asarray(mask, dtype=bool))
        return self.population.observe(), {**info, "snapshot": self._start.copy()}

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of every episode; truncated at ``horizon`` and at ``until_step``."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._steps += self.num_envs
        self._age += 1
        due = self._age == self.horizon if self._guided() else np.ones(self.num_envs, dtype=bool)
        cut = due & (self._start >= 0) & ~terminated
        if cut.any():
            info = self._cut(observation, info, cut)
        done = terminated | cut
        if done.any():
            self._begin(done)
            observation = self.population.observe()
        return observation, reward, terminated, truncated | cut, {**info, "snapshot": self._start.copy()}

    def _guided(self) -> bool:
        return self.until_step is None or self._steps < self.until_step

    def _begin(self, mask: npt.NDArray[np.bool_]) -> None:
        """Students whose episode has just begun: restore those for which the sampler draws a snapshot."""
        who = np.flatnonzero(mask)
        drawn = [self.sampler(self._rng) if self._guided() else None for _ in who]
        self._start[who] = [-1 if row is None else row for row in drawn]
        self._age[who] = 0
        placed = who[self._start[who] >= 0]
        if len(placed):
            states = torch.from_numpy(self.store.state[self._start[placed]])
            self.population.restore(self.population.snapshot(0).unpacked(states), placed, random_streams=False)

    def _cut(self, observation: Any, info: dict[str, Any], cut: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Truncate episodes and begin the next ones; last observations and costs go to ``final_obs`` and ``final_info``."""
        final = info.pop("final_obs", np.full(self.num_envs, None, dtype=object))
        for i in np.flatnonzero(cut):
            final[i] = self.population.row(observation, int(i))
        ended = info.pop("_final_obs", np.zeros(self.num_envs, dtype=bool)) | cut
        last = _merged(info.pop("final_info", {}), info, cut)
        self.env.reset(options={"reset_mask": cut})
        rest = _merged({}, info, ~cut)
        return {**rest, "final_obs": final, "_final_obs": ended, "final_info": last, "_final_info": ended}


def _merged(one: dict[str, Any], other: dict[str, Any], rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A vector info with some rows from another one; keys that ``one`` lacks are empty in the other rows."""
    merged: dict[str, Any] = dict(one)
    for key, value in other.items():
        if isinstance(value, dict):
            merged[key] = _merged(one.get(key, {}), value, rows)
        elif key != "_final_info":
            empty = "" if value.dtype == object else value.dtype.type(0)
            merged[key] = np.where(rows, value, one.get(key, empty))
    return merged
