"""Beyond one machine: a population whose students live in Ray workers.

`RayPopulation` is used like what ``gym.make_vec`` returns. Its students are split into shards, one a Ray actor. An actor may
die at any moment: the driver keeps a snapshot of every shard and the actions since, starts another actor, and the episode
goes on bitwise as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from kdgym.core import StudentSnapshot
from kdgym.core.population import Array, Info
from kdgym.core.validation import checked_actions, checked_options, checked_seeds
from kdgym.integrations.ray_worker import Description, Worker, merge
from kdgym.tasks.base import Split

try:
    import ray
    from ray import exceptions
except ImportError as error:
    raise ImportError("kdgym.integrations.ray needs Ray: pip install 'kdgym[dist]'.") from error

# What ray.get raises when a worker, or the machine it was on, is gone. An exception of the environment is a RayTaskError.
_LOST = (
    exceptions.RayActorError,
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)


_Actor: Any = ray.remote(Worker)


class WorkerLostError(RuntimeError):
    """A worker died more often than ``max_restarts`` allows."""


@dataclass
class _Shard:
    """What the driver keeps of a shard: with it, any worker can carry on.

    Attributes:
        number: which worker it is.
        rows: which students of the population it holds.
        actor: handle of the actor.
        snapshot: where the students stood once; None before the first reset.
        lessons: actions [rows, ...] of every step since.
        restarts: how often its worker has been replaced.
    """

    number: int
    rows: slice
    actor: Any = None
    snapshot: StudentSnapshot | None = None
    lessons: list[Array] = field(default_factory=list)
    restarts: int = 0

    @property
    def size(self) -> int:
        return int(self.rows.stop - self.rows.start)

    def keep(self, snapshot: StudentSnapshot) -> None:
        self.snapshot, self.lessons = snapshot, []


class RayPopulation(VectorEnv[dict[str, Array], Array, Array]):
    """A population spread over Ray workers: the interface and, bitwise, the results of ``gym.make_vec`` in one process.

    Student i has the seed ``seed + i`` wherever it lives. An exception that an environment raises arrives as it is, and
    leaves every student where it was. Ray starts on this machine if `ray.init` was not called before.

    Args:
        env_id: an id of kdgym, or ``"module:id"`` for an id that importing ``module`` registers.
        num_envs: number of students S.
        workers: number of shards; their sizes differ by one student at most.
        num_cpus: cores a worker reserves; may be a fraction.
        num_gpus: GPUs a worker reserves; may be a fraction. Put the students there by ``device="cuda"``.
        threads: torch threads of a worker. Results are bitwise those of a process with as many.
        snapshot_every: steps between two snapshots: a new worker repeats less than this many. Each costs the transfer
            of all students to the driver.
        max_restarts: how often each worker may be replaced.
        start_timeout: seconds a worker may take to start, free resources included.
        actor_options: further options of the Ray actors, such as ``scheduling_strategy`` or ``runtime_env``.
        render_mode: ``None`` or ``"rgb_array"``.
        settings: keyword arguments of the environment.

    Attributes:
        settings: settings of the environment, as snapshots hold them.

    Raises:
        ValueError: an argument, or a setting of the environment, is refused.
        TimeoutError: a worker has not started in time.
    """

    def __init__(
        self,
        env_id: str,
        num_envs: int,
        workers: int = 2,
        *,
        num_cpus: float = 1,
        num_gpus: float = 0,
        threads: int = 1,
        snapshot_every: int = 8,
        max_restarts: int = 3,
        start_timeout: float = 300.0,
        actor_options: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        _check_arguments(num_envs, workers, threads, snapshot_every, max_restarts)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; students of other processes know 'rgb_array' or None.")
        if str(settings.get("device", "cpu")).startswith("cuda") and not num_gpus:
            raise ValueError(
                "device is 'cuda', but num_gpus is 0: nothing would bring the workers to machines with a GPU, or keep them "
                "from sharing one. Give num_gpus=1, or a fraction to let several share a GPU."
            )
        self.num_envs, self.render_mode = num_envs, render_mode
        self._snapshot_every, self._max_restarts, self._start_timeout = snapshot_every, max_restarts, start_timeout
        self._options = {"num_cpus": num_cpus, "num_gpus": num_gpus, **(actor_options or {})}
        self._environment = (env_id, threads, {**settings, "render_mode": render_mode})
        self._started, self._torn = False, False
        self._done = np.zeros(num_envs, dtype=bool)
        edges = [num_envs * i // workers for i in range(workers + 1)]
        self._shards = [_Shard(i, slice(*edges[i : i + 2])) for i in range(workers)]
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    # --- the Gymnasium interface ---------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], Info]:
        """Start episodes; arguments and errors are those of `kdgym.core.PopulationEnv.reset`."""
        mask, restart = checked_options(options, self.num_envs, self._started)
        super().reset(seed=seed if isinstance(seed, int) else None)
        seeds = None if seed is None and self._started else checked_seeds(seed, self.num_envs, self.np_random)
        parts = self._all("reset", lambda s: (seeds and seeds[s.rows], mask[s.rows], restart))
        for shard, (_, _, snapshot) in zip(self._shards, parts, strict=True):
            shard.keep(snapshot)
        self._started = True
        self._done[mask] = False
        return self._merge([part[0] for part in parts]), self._merge([part[1] for part in parts])

    def step(self, actions: Array) -> tuple[dict[str, Array], Array, Array, Array, Info]:
        """Teach every student for one step.

        Raises:
            RuntimeError: before the first reset; or, without autoreset, after a student's episode has ended.
            ValueError: an action has the wrong shape, is not finite, or leaves the action space. No student was taught.
            WorkerLostError: a worker died more often than ``max_restarts`` allows.
        """
        if not self._started:
            raise RuntimeError("step was called before reset; call reset first.")
        if self._done.any():
            raise RuntimeError("step was called after the end of an episode; call reset to start the next one.")
        valid = checked_actions(actions, self.num_envs, self.single_action_space)
        due = len(self._shards[0].lessons) + 1 >= self._snapshot_every
        parts = self._all("step", lambda s: (valid[s.rows], due))
        for shard, (_, snapshot) in zip(self._shards, parts, strict=True):
            if snapshot is None:
                shard.lessons.append(valid[shard.rows])
            else:
                shard.keep(snapshot)
        observations, rewards, terminated, truncated, infos = zip(*(part[0] for part in parts), strict=True)
        ended, cut = np.concatenate(terminated), np.concatenate(truncated)
        if self.metadata["autoreset_mode"] is AutoresetMode.DISABLED:
            self._done = ended | cut
        joined = np.concatenate(rewards), ended, cut
        return self._merge(observations), *joined, self._merge(infos)

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """One picture a student with ``render_mode="rgb_array"``."""
        if self.render_mode is None:
            return None
        parts = self._all("call", lambda _: ("render",))
        return tuple(picture.copy() for pictures in parts for picture in pictures)

    def close_extras(self) -> None:
        """End the workers and give their resources back."""
        for shard in self._shards:
            if shard.actor is not None and ray.is_initialized():
                ray.kill(shard.actor)
            shard.actor = None

    # --- what a population can do besides --------------------------------------------------------------------------

    def observe(self) -> dict[str, Array]:
        """What the teachers see now: the observation of the last reset, step or restore."""
        return self._merge(self._all("call", lambda _: ("observe",)))

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """Sit an unaided examination that leaves no trace; arrays [S, ...] as the environment's own `examine` gives them."""
        return self._merge(self._all("call", lambda _: ("examine", split)))

    def ledger(self) -> dict[str, dict[str, Array]]:
        """What each student's current episode has spent so far: actor -> unit -> [S]."""
        return self._merge(self._all("call", lambda _: ("ledger",)))

    def snapshot(self) -> StudentSnapshot:
        """All students, in host memory; fits every population of this id, these settings and this size.

        Raises:
            RuntimeError: before the first reset.
        """
        if not self._started:
            raise RuntimeError("There is nothing to snapshot before the first reset; call reset first.")
        parts = self._all("snapshot", lambda _: ())
        for shard, part in zip(self._shards, parts, strict=True):
            shard.keep(part)
        rows = zip(*(part.rows for part in parts), strict=True)
        return StudentSnapshot(self.settings, [torch.cat(row) for row in rows])

    def restore(self, snapshot: StudentSnapshot) -> None:
        """Put all students back: from here on everything happens bitwise as it did after `snapshot`.

        Raises:
            ValueError: the snapshot was taken under other settings, or holds another number of students.
        """
        snapshot.require(self.settings, self.num_envs)
        # Cloned, because a slice would drag the whole population along to every worker.
        parts = [
            StudentSnapshot(self.settings, [row[s.rows].cpu().clone() for row in snapshot.rows]) for s in self._shards
        ]
        done = self._all("restore", lambda s: (parts[s.number], ()))
        for shard, part in zip(self._shards, parts, strict=True):
            shard.keep(part)
        self._done, self._started = np.concatenate(done), True

    def pids(self) -> list[int]:
        """Process id of every worker, on whatever machine it is."""
        pids: list[int] = self._all("pid", lambda _: ())
        return pids

    # --- workers ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start all workers at once, and take over the spaces of the environment they made."""
        made = [self._spawn(shard)[0] for shard in self._shards]
        self._wait_for_start(made)
        described: list[Description] = [
            self._outcome(shard, reference, "make", self._make_arguments(shard))
            for shard, reference in zip(self._shards, made, strict=True)
        ]
        environment = described[0]
        self.settings, self.metadata = environment.settings, environment.metadata
        self.single_observation_space = environment.observation_space
        self.single_action_space = environment.action_space
        self.observation_space = batch_space(environment.observation_space, self.num_envs)
        self.action_space = batch_space(environment.action_space, self.num_envs)

    def _all(self, method: str, arguments: Callable[[_Shard], tuple[Any, ...]]) -> list[Any]:
        """Call a method of every worker at once. Either all of them did it, or no student has moved."""
        if self.closed:
            raise RuntimeError("This population was closed; make a new one, and restore a snapshot to go on.")
        if self._torn:  # an exception or ctrl-C came between: some shards may have gone on without the others
            self._rewind()
        self._torn = True
        results = self._gather(self._shards, method, arguments)
        self._torn = False
        return results

    def _rewind(self) -> None:
        """Put every shard to where all of them were when they last agreed."""
        known = [shard for shard in self._shards if shard.snapshot is not None]
        self._gather(known, "restore", lambda s: (s.snapshot, s.lessons))

    def _gather(
        self, shards: Sequence[_Shard], method: str, arguments: Callable[[_Shard], tuple[Any, ...]]
    ) -> list[Any]:
        calls = [(shard, arguments(shard)) for shard in shards]
        references = [getattr(shard.actor, method).remote(*given) for shard, given in calls]
        return [
            self._outcome(shard, reference, method, given)
            for (shard, given), reference in zip(calls, references, strict=True)
        ]

    def _outcome(self, shard: _Shard, reference: Any, method: str, arguments: tuple[Any, ...]) -> Any:
        """What a call returned; a worker that dies is replaced, and asked again."""
        while True:
            try:
                if reference is None:
                    self._replace(shard)
                    reference = getattr(shard.actor, method).remote(*arguments)
                return ray.get(reference)
            except exceptions.RayTaskError as error:
                raise error.cause from error  # what the environment raised; Ray's own error holds the remote traceback
            except _LOST as error:
                self._count_loss(shard, error)
                reference = None

    def _merge(self, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return merge(parts, [shard.size for shard in self._shards])

    def _make_arguments(self, shard: _Shard) -> tuple[Any, ...]:
        env_id, threads, settings = self._environment
        return env_id, shard.size, threads, settings

    def _spawn(self, shard: _Shard) -> tuple[Any, Any]:
        """Start a worker on a shard; gives references of its description and of its return to where the last one was."""
        shard.actor = _Actor.options(**self._options).remote()
        made = shard.actor.make.remote(*self._make_arguments(shard))
        if shard.snapshot is None:
            return made, made
        return made, shard.actor.restore.remote(shard.snapshot, shard.lessons)

    def _replace(self, shard: _Shard) -> None:
        ray.kill(shard.actor)  # it may be cut off rather than dead, and must not hold its resources
        made, restored = self._spawn(shard)
        self._wait_for_start([made])
        ray.get([made, restored])

    def _count_loss(self, shard: _Shard, cause: BaseException) -> None:
        shard.restarts += 1
        if shard.restarts > self._max_restarts:
            raise WorkerLostError(
                f"Worker {shard.number} (students {shard.rows.start} to {shard.rows.stop - 1}) died {shard.restarts} "
                f"time(s), and max_restarts is {self._max_restarts}. If it ran out of memory, use more workers or fewer "
                f"students; if its machine is unreliable, raise max_restarts. The last time: {cause}"
            ) from cause

    def _wait_for_start(self, references: list[Any]) -> None:
        _, missing = ray.wait(references, num_returns=len(references), timeout=self._start_timeout)
        if missing:
            raise TimeoutError(
                f"{len(missing)} worker(s) did not start in {self._start_timeout:g} s. Each needs {self._options}; the "
                f"cluster has {ray.cluster_resources()}, of which free: {ray.available_resources()}. Use fewer workers, "
                "ask for less, or raise start_timeout if the cluster is growing."
            )


def _check_arguments(num_envs: int, workers: int, threads: int, snapshot_every: int, max_restarts: int) -> None:
    least = {"num_envs": 1, "workers": 1, "threads": 1, "snapshot_every": 1, "max_restarts": 0}
    given = {"num_envs": num_envs, "workers": workers, "threads": threads}
    given |= {"snapshot_every": snapshot_every, "max_restarts": max_restarts}
    for name, value in given.items():
        if value < least[name]:
            raise ValueError(f"{name} is {value}; it is at least {least[name]}.")
    if workers > num_envs:
        raise ValueError(f"There are {workers} workers for {num_envs} students; give every worker at least one.")
