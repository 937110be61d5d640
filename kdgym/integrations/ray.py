"""Beyond one machine: a population sharded over Ray workers, and kdgym's ids for RLlib.

Students know nothing of each other, so a shard of them learns bitwise what it would learn in one large population. A worker
that dies is replaced: the driver keeps a snapshot of every shard and the calls since, and a new worker repeats them.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayTaskError

from kdgym.core import Snapshot
from kdgym.core.population import Array, Info, validate_actions
from kdgym.tasks import Split

_DEATHS = (ActorDiedError, ActorUnavailableError, ObjectLostError)


class WorkerDiedError(RuntimeError):
    """A shard's workers died more often than ``max_restarts`` allows."""


class _Worker:
    """One shard, in a process of its own."""

    def __init__(self, env_id: str, students: int, threads: int, settings: dict[str, Any]) -> None:
        import kdgym  # noqa: F401  # a fresh process has to register the ids

        torch.set_num_threads(threads)
        self.envs: Any = gym.make_vec(env_id, num_envs=students, **settings).unwrapped

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        return getattr(self.envs, name)(**arguments)

    def pid(self) -> int:
        return os.getpid()

    def describe(self) -> dict[str, Any]:
        names = ("single_observation_space", "single_action_space", "metadata", "steps", "settings")
        return {name: getattr(self.envs, name) for name in names}


class _Shard:
    """The driver's side of a worker: the handle, and what it takes to make the worker again."""

    def __init__(self, start: Callable[[], Any], begin: int, size: int, max_restarts: int) -> None:
        self.part, self.size = slice(begin, begin + size), size
        self.start, self.worker, self.restarts_left = start, start(), max_restarts
        self.snapshot: Snapshot | None = None
        self.calls: list[tuple[str, dict[str, Any]]] = []  # since the snapshot; each changes the students

    def send(self, name: str, **arguments: Any) -> Any:
        return self.worker.call.remote(name, arguments)

    def receive(self, future: Any, name: str, arguments: dict[str, Any]) -> Any:
        """The result of a call; if its worker died, that of the same call to the next worker.

        Raises:
            WorkerDiedError: once too often.
        """
        while True:
            try:
                return ray.get(future)
            except RayTaskError as error:  # the environment's own complaint
                raise error.as_instanceof_cause() from None
            except _DEATHS as death:
                self._replace(death)
                future = self.send(name, **arguments)

    def keep(self, snapshot: Snapshot) -> None:
        self.snapshot, self.calls = snapshot, []

    def _replace(self, death: Exception) -> None:
        while self.restarts_left > 0:
            self.restarts_left -= 1
            try:
                self.worker = self.start()
                if self.snapshot is not None:
                    ray.get(self.send("restore", snapshot=self.snapshot))
                for name, arguments in self.calls:
                    ray.get(self.send(name, **arguments))
                return
            except _DEATHS as another:
                death = another
        raise WorkerDiedError(
            f"The worker of students {self.part.start} to {self.part.stop - 1} died, and no restart is left: {death} "
            "Look for its last words in Ray's logs (memory is the usual cause), or allow more with max_restarts."
        ) from death


class RayPopulation(VectorEnv[dict[str, Array], Array, Array]):
    """Students sharded over Ray workers; otherwise the population that ``gym.make_vec(env_id, num_envs)`` makes.

    Args:
        env_id: a registered id.
        num_envs: number of students S, at least one a worker.
        workers: number of processes; shards differ by at most one student.
        cpus, gpus: what Ray reserves for a worker; with a GPU each, add ``device="cuda"``.
        threads: torch threads of a worker.
        snapshot_every: steps between the snapshots that a dead worker is made again from.
        max_restarts: how often a shard's worker may die.
        settings: passed to the environment.

    Raises:
        ValueError: there are more workers than students, or a number is too small.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        workers: int,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        threads: int = 1,
        snapshot_every: int = 4,
        max_restarts: int = 3,
        **settings: Any,
    ) -> None:
        if not 1 <= workers <= num_envs:
            raise ValueError(f"{workers} workers were asked for {num_envs} students; take 1 to {num_envs}.")
        if snapshot_every < 1 or max_restarts < 0:
            raise ValueError(f"snapshot_every is {snapshot_every} and max_restarts {max_restarts}; at least 1 and 0.")
        actor: Any = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
        bounds = [num_envs * i // workers for i in range(workers + 1)]
        self._shards = []
        for begin, end in itertools.pairwise(bounds):
            start = functools.partial(actor.remote, env_id, end - begin, threads, settings)
            self._shards.append(_Shard(start, begin, end - begin, max_restarts))
        self.num_envs, self._every, self._steps_since, self._started = num_envs, snapshot_every, 0, False
        for name, value in ray.get(self._shards[0].worker.describe.remote()).items():
            setattr(self, name, value)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], Info]:
        """See `kdgym.core.PopulationEnv.reset`."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if mask is not None and np.shape(mask) != (self.num_envs,):
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},); got {mask!r}.")
        seeds = self._seeds(seed)
        requests = []
        for shard in self._shards:
            chosen = {} if mask is None else {"reset_mask": np.asarray(mask)[shard.part]}
            own = {"seed": seeds and seeds[shard.part], "options": {**options, **chosen}}
            skipped = mask is not None and not np.any(mask[shard.part]) and np.any(mask)
            requests.append(("observe", {}) if skipped else ("reset", own))
        results = self._everywhere(requests)
        pairs = [
            (result, {}) if name == "observe" else result for (name, _), result in zip(requests, results, strict=True)
        ]
        self._started = True
        self._keep_snapshots()
        return _concatenate([observation for observation, _ in pairs]), self._join([info for _, info in pairs])

    def step(self, actions: Array) -> tuple[dict[str, Array], Array, Array, Array, Info]:
        """See `kdgym.core.PopulationEnv.step`; nobody is taught when an action is refused."""
        assert isinstance(self.single_action_space, spaces.Box)
        valid = validate_actions(actions, self.single_action_space, self.num_envs)
        if not self._started:
            raise RuntimeError("step was called before reset; call reset first.")
        if self.metadata["autoreset_mode"] is AutoresetMode.DISABLED and np.concatenate(self._all("finished")).any():
            raise RuntimeError("step was called after the end of an episode; call reset to start the next one.")
        results = self._everywhere([("step", {"actions": valid[shard.part]}) for shard in self._shards])
        self._steps_since += 1
        if self._steps_since >= self._every:
            self._keep_snapshots()
        observations, rewards, terminated, truncated, infos = (list(part) for part in zip(*results, strict=True))
        reward, over, cut = (np.concatenate(part) for part in (rewards, terminated, truncated))
        return _concatenate(observations), reward, over, cut, self._join(infos)

    def observe(self) -> dict[str, Array]:
        """See `kdgym.core.PopulationEnv.observe`."""
        return _concatenate(self._all("observe"))

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """See `kdgym.core.PopulationEnv.examine`."""
        return _concatenate(self._all("examine", split=split))

    def ledger(self) -> dict[str, dict[str, Array]]:
        """See `kdgym.core.PopulationEnv.ledger`."""
        parts = self._all("ledger")
        return {actor: _concatenate([part[actor] for part in parts]) for actor in parts[0]}

    def snapshot(self) -> Snapshot:
        """A snapshot of all students, which a population in one process takes as well, and the other way round."""
        parts: list[Snapshot] = self._all("snapshot")
        return Snapshot(
            parts[0].settings, [torch.cat(rows) for rows in zip(*(part.rows for part in parts), strict=True)]
        )

    def restore(self, snapshot: Snapshot) -> None:
        """See `kdgym.core.PopulationEnv.restore`."""
        if len(snapshot.rows[0]) != self.num_envs:
            raise ValueError(
                f"The snapshot holds {len(snapshot.rows[0])} students, and {self.num_envs} are to be restored; "
                "the numbers must agree."
            )
        parts = [Snapshot(snapshot.settings, [row[shard.part] for row in snapshot.rows]) for shard in self._shards]
        self._everywhere([("restore", {"snapshot": part}) for part in parts])
        self._started = True
        self._keep_snapshots()

    def close_extras(self, **kwargs: Any) -> None:
        """End the workers."""
        for shard in self._shards:
            ray.kill(shard.worker)

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int] | None:
        """One seed a student; what a worker would draw for itself is drawn here, so that it can be repeated."""
        if seed is None and self._started:
            return None
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + i for i in range(self.num_envs)]
        given = [None] * self.num_envs if seed is None else list(seed)
        if len(given) != self.num_envs:
            raise ValueError(
                f"{len(given)} seeds were given for {self.num_envs} students; give one int, or one a student."
            )
        fresh = self.np_random.integers(0, 2**31, self.num_envs)
        return [int(fresh[i]) if s is None else int(s) for i, s in enumerate(given)]

    def _all(self, name: str, **arguments: Any) -> list[Any]:
        return self._everywhere([(name, arguments)] * len(self._shards))

    def _everywhere(self, requests: list[tuple[str, dict[str, Any]]]) -> list[Any]:
        """Send each shard its call, then collect; calls that change students are remembered once they succeeded."""
        sent = [shard.send(name, **arguments) for shard, (name, arguments) in zip(self._shards, requests, strict=True)]
        results: list[Any] = []
        errors: list[Exception] = []
        for shard, future, (name, arguments) in zip(self._shards, sent, requests, strict=True):
            try:
                results.append(shard.receive(future, name, arguments))
            except Exception as error:  # raised below, after the other shards' calls are known to have succeeded
                errors.append(error)
                continue
            if name in ("reset", "step", "restore"):
                shard.calls.append((name, arguments))
        if errors:
            raise errors[0]
        return results

    def _keep_snapshots(self) -> None:
        for shard, snapshot in zip(self._shards, self._all("snapshot"), strict=True):
            shard.keep(snapshot)
        self._steps_since = 0

    def _join(self, infos: Sequence[Info]) -> Info:
        return _join_infos(list(zip([shard.size for shard in self._shards], infos, strict=True)))


def _concatenate(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _join_infos(parts: list[tuple[int, Info]]) -> Info:
    """Vector infos of shards side by side; where a shard says nothing, its students' masks are False."""
    joined: Info = {}
    for key in dict.fromkeys(key for _, info in parts for key in info):
        known = next(info[key] for _, info in parts if key in info)
        if isinstance(known, dict):
            joined[key] = _join_infos([(size, info.get(key, {})) for size, info in parts])
        else:
            empty = None if known.dtype == object else 0
            columns = [info.get(key, np.full((size, *known.shape[1:]), empty, known.dtype)) for size, info in parts]
            joined[key] = np.concatenate(columns)
    return joined
