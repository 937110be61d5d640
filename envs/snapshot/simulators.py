"""Where students practise control: what an environment of starts asks of a task and of those who learn it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from kdgym.students.control.actor_critic import ActorCritics
from kdgym.students.control.rollouts import StartRule, Tally, examine, new_episodes, practise
from kdgym.tasks.control import Control
from kdgym.tasks.snapshots import Trajectories

Keys = Callable[
    [int], tuple[Tensor, Tensor]
]  # number of an update -> keys of its practice and of the order of learning
_JUDGED = 8  # snapshots a cluster at which the critic is compared with the teacher


class Playground(Protocol):
    """One task, the states of a teacher that solves it, and S students with a row of numbers each.

    Attributes:
        version: of what scores depend on.
        limit: steps after which an ordinary episode is truncated.
        row, dtype: numbers of a student, and their type; the first ``weights`` of them are its networks'.
        flops: floating-point operations of one decision.
        chances: numbers in [0, 1) that make an ordinary start; ``start_size``: numbers of a start.
        size, value: snapshots of every cluster, and the teacher's mean value there, [C].
        steps: environment steps that collecting the snapshots took.
        independent: whether a student's numbers are bit for bit the same in any company.
    """

    version: int
    limit: int
    row: int
    weights: int
    dtype: torch.dtype
    flops: float
    chances: int
    start_size: int
    size: Tensor
    value: Tensor
    steps: int
    independent: bool

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> [S, row]."""

    def start(self, chance: Tensor) -> Tensor:
        """Ordinary starts: [..., chances] -> float64 [..., start_size]."""

    def practise(self, student: Tensor, rule: StartRule, updates: Tensor, begin: Tensor, keys: Keys) -> Tally:
        """Let everybody practise and learn, in place.

        Args:
            student: [S, row].
            rule: where episodes start.
            updates: how many each student may still afford, int64 [S].
            begin: key of the first starts, int64 [S].
            keys: of every update.
        """

    def gap(self, student: Tensor) -> Tensor:
        """The teacher's value of each cluster minus the student's critic's: [S, row] -> float32 [S, C]."""

    def examine(self, student: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Greedy episodes: starts [S, E, start_size] -> returns and successes [S, E], steps [S]; see `episodes.examine`."""

    def score(self, total: Tensor) -> Tensor:
        """Returns from ordinary starts on a scale from 0 to 1."""


class TorchPlayground:
    """`Playground` of batched dynamics and batched actor-critics: everybody at once.

    Args:
        control: the task.
        store: the teacher's states.
        students: who learns.
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
        self.chances = self.start_size = control.state_size
        clusters, device = len(store.size), store.state.device
        self.size = store.size
        self.value = torch.stack([store.value[store.cluster == k].mean() for k in range(clusters)])
        chance = torch.arange(_JUDGED, device=device, dtype=torch.float64) / _JUDGED
        everywhere = torch.arange(clusters, device=device).repeat_interleave(_JUDGED)
        self._judged = store.members(everywhere, chance.repeat(clusters))
        self.initialise, self.start, self.score = students.initialise, control.start, control.score

    def practise(self, student: Tensor, rule: StartRule, updates: Tensor, begin: Tensor, keys: Keys) -> Tally:
        """See `Playground.practise`; batches of students who rest are thrown away."""
        episodes = new_episodes(self.control, self.store, rule, begin, self.actors)
        happened = Tally.nothing(rule.share)
        for update in range(self.updates):
            active, (key, order) = update < updates, keys(update)
            batch, episodes, tally = practise(
                self.students, self.control, self.store, student, rule, episodes, key, self.rollout
            )
            self.students.update(student, batch, order, active)
            happened = happened + tally.only(active)
        return happened

    def gap(self, student: Tensor) -> Tensor:
        """See `Playground.gap`."""
        seen = self.control.observe(self.store.state[self._judged]).expand(len(student), -1, -1)
        gap: Tensor = self.store.value[self._judged] - self.students.values(student, seen)
        return gap.unflatten(1, (-1, _JUDGED)).mean(2).float()  # type: ignore[no-any-return]

    def examine(self, student: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Playground.examine`."""
        return examine(self.students, self.control, student, starts)
