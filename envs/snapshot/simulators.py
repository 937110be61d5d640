"""Simulators that students practise control in: what the Snapshot family asks of a task and of its student engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from kdgym.students.control.actor_critic import ActorCritics
from kdgym.students.control.rollouts import EpisodeStats, StartRule, examine, new_episodes, practise
from kdgym.tasks.control import Control
from kdgym.tasks.snapshots import Trajectories

# Number of an update -> keys of its rollout and of the order of its minibatches.
Keys = Callable[[int], tuple[Tensor, Tensor]]
_PROBES = 8  # snapshots a cluster at which the critic is compared with the demonstrator


class Simulators(Protocol):
    """One task, states of a demonstrator that solves it, and S students with a row of numbers each.

    Attributes:
        version: of what scores depend on.
        limit: steps after which an ordinary episode is truncated.
        row, dtype: numbers of a student, and their type; the first ``weights`` of them are its networks'.
        flops: floating-point operations of one decision.
        noise_size: uniform numbers that make an ordinary start; ``start_size``: numbers of a start.
        size, value: snapshots of every cluster, and the demonstrator's mean value there, [C].
        steps: environment steps that collecting the snapshots took.
        independent: whether a student's numbers are bitwise the same in a population of any size.
    """

    version: int
    limit: int
    row: int
    weights: int
    dtype: torch.dtype
    flops: float
    noise_size: int
    start_size: int
    size: Tensor
    value: Tensor
    steps: int
    independent: bool

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> [S, row]."""

    def start(self, noise: Tensor) -> Tensor:
        """Ordinary starts: [..., noise_size] -> float64 [..., start_size]."""

    def practise(self, student: Tensor, rule: StartRule, updates: Tensor, begin: Tensor, keys: Keys) -> EpisodeStats:
        """Let all students practise and learn, in place.

        Args:
            student: [S, row].
            rule: where episodes start.
            updates: how many each student may still afford, int64 [S].
            begin: key of the first starts, int64 [S].
            keys: of every update.
        """

    def gap(self, student: Tensor) -> Tensor:
        """The demonstrator's value of each cluster minus the student's critic's: [S, row] -> float32 [S, C]."""

    def examine(self, student: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Greedy episodes: starts [S, E, start_size] -> returns and successes [S, E], steps [S]; see `rollouts.examine`."""

    def score(self, total: Tensor) -> Tensor:
        """Returns from ordinary starts on a scale from 0 to 1."""


class BatchedSimulators:
    """`Simulators` with batched dynamics and batched actor-critics: all students at once.

    Args:
        control: the task.
        store: the demonstrator's states.
        students: the engine.
        actors: simulators of a student.
        rollout: steps of an update in each.
        updates: most updates of a step.
    """

    independent = False  # batched matrix products round by the size of the batch

    def __init__(
        self, control: Control, store: Trajectories, students: ActorCritics, actors: int, rollout: int, updates: int
    ) -> None:
        self.control, self.store, self.students = control, store, students
        self.actors, self.rollout, self.updates = actors, rollout, updates
        self.version, self.limit, self.steps = control.version, control.limit, store.steps
        self.row, self.weights, self.dtype, self.flops = students.row, students.weights, students.dtype, students.flops
        self.noise_size = self.start_size = control.state_size
        clusters, device = len(store.size), store.state.device
        self.size = store.size
        self.value = torch.stack([store.value[store.cluster == k].mean() for k in range(clusters)])
        noise = torch.arange(_PROBES, device=device, dtype=torch.float64) / _PROBES
        everywhere = torch.arange(clusters, device=device).repeat_interleave(_PROBES)
        self._probes = store.members(everywhere, noise.repeat(clusters))
        self.initialise, self.start, self.score = students.initialise, control.start, control.score

    def practise(self, student: Tensor, rule: StartRule, updates: Tensor, begin: Tensor, keys: Keys) -> EpisodeStats:
        """See `Simulators.practise`; batches of students without updates left are thrown away."""
        episodes = new_episodes(self.control, self.store, rule, begin, self.actors)
        stats = EpisodeStats.nothing(rule.share)
        for update in range(self.updates):
            active, (key, order) = update < updates, keys(update)
            batch, episodes, more = practise(
                self.students, self.control, self.store, student, rule, episodes, key, self.rollout
            )
            self.students.update(student, batch, order, active)
            stats = stats + more.only(active)
        return stats

    def gap(self, student: Tensor) -> Tensor:
        """See `Simulators.gap`."""
        observation = self.control.observe(self.store.state[self._probes]).expand(len(student), -1, -1)
        gap: Tensor = self.store.value[self._probes] - self.students.values(student, observation)
        return gap.unflatten(1, (-1, _PROBES)).mean(2).float()  # type: ignore[no-any-return]

    def examine(self, student: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Simulators.examine`."""
        return examine(self.students, self.control, student, starts)
