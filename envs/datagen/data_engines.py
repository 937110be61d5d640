"""Data engines of unknown quality: what a teacher buys when it buys training items.

In life the items come from generators, crowds or scrapes that differ: some make clean items, some make wrong answers, some
make the same few problems again and again, and the price says nothing about it. Here every skill has a few sources whose
kind is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import Task

PRICES = (1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class SourceKind:
    """How a data engine makes items.

    Attributes:
        name: for people.
        error_rate: share of items whose answer is wrong (a random other answer that fits the skill).
        distinct: number of distinct problems it ever makes; None for all of the split.
    """

    name: str
    error_rate: float = 0.0
    distinct: int | None = None


KINDS = (
    SourceKind("clean"),
    SourceKind("wrong answers", error_rate=0.9),
    SourceKind("near-duplicates", distinct=8),
)


class Sources:
    """The data engines of a task, M a skill; source ``k * M + m`` is the m-th of skill k.

    Args:
        task: what is taught; items come from its train split.
        per_skill: sources M a skill.
        device: where lessons are made.
    """

    def __init__(self, task: Task, per_skill: int, device: torch.device) -> None:
        self.per_skill, self.skills, self.device = per_skill, len(task.skills), device
        self.total = self.skills * per_skill
        skill = torch.arange(self.total) // per_skill
        pool, answers = task.pool("train"), task.answer_pool
        # Per source: where its problems and its answers lie, and how many there are.
        table = [pool.start[skill], pool.count[skill], answers.start[skill], answers.count[skill]]
        self._place = torch.stack(table).to(device)
        self._solution = task.solution.to(device)
        self._distinct = torch.tensor([kind.distinct or 0 for kind in KINDS], device=device)
        self._error_rate = torch.tensor([kind.error_rate for kind in KINDS], dtype=torch.float64, device=device)
        self._prices = torch.tensor(PRICES, device=device)
        self._most_distinct = max(kind.distinct or 1 for kind in KINDS)

    def draw_kinds(self, key: Tensor) -> Tensor:
        """Kind of every source, keys [S] -> int64 [S, K * M]: one clean source a skill, anywhere; the others are each one of
        the bad kinds.
        """
        clean = random.integers(random.fold(key, 0), self.skills, self.per_skill).unsqueeze(2)
        bad = 1 + random.integers(random.fold(key, 1), self.total, len(KINDS) - 1).view(len(key), self.skills, -1)
        return bad.scatter(2, clean, 0).flatten(1)

    def draw_prices(self, key: Tensor) -> Tensor:
        """Price of an item from each source, keys [S] -> float32 [S, K * M]."""
        return self._prices[random.integers(key, self.total, len(PRICES))]

    def make_items(
        self, kind: Tensor, count: Tensor, size: int, episode: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Have the sources make a lesson's items, in random order.

        Args:
            kind: index into `KINDS` of every source, int64 [S, K * M].
            count: items each source makes, int64 [S, K * M].
            size: room N of a lesson, at least every student's total.
            episode: keys [S] that last an episode (a near-duplicate engine repeats itself within one).
            step: keys [S] of this lesson.

        Returns:
            ``(problem, answer, source)``, int64 [S, N]; each student's items stand first, what follows them is filler.
        """
        order, fresh, copy, shift, error = random.bits(step, 5 * size).view(len(step), 5, size).unbind(1)
        source = in_random_order(count, order)
        kinds = kind.gather(1, source)
        first, number, first_answer, answers = self._place[:, source]

        distinct = self._distinct[kinds]
        which = source * self._most_distinct + random.to_integers(copy, distinct.clamp_min(1))
        chosen = torch.where(distinct > 0, random.fold(episode.unsqueeze(1), which), fresh)
        problem = first + random.to_integers(chosen, number)

        right = self._solution[problem]
        shifted = right - first_answer + 1 + random.to_integers(shift, answers - 1)
        wrong = first_answer + torch.where(shifted >= answers, shifted - answers, shifted)
        answer = torch.where(random.to_uniform(error) < self._error_rate[kinds], wrong, right)
        return problem, answer, source


def in_random_order(count: Tensor, order: Tensor) -> Tensor:
    """Which of n sources every item comes from: ``count[s, j]`` times source j, shuffled, then filler.

    Args:
        count: items of each source, int64 [S, n].
        order: random bits, int64 [S, N]; N is at least every student's total.
    """
    last = count.cumsum(1)
    slot = torch.arange(order.shape[1], device=count.device).expand(len(order), -1).contiguous()
    source = torch.searchsorted(last, slot, right=True).clamp_max_(count.shape[1] - 1)
    return source.gather(1, shuffle(order, last[:, -1]))


def shuffle(order: Tensor, total: Tensor) -> Tensor:
    """Places 0 .. N - 1 with the first ``total[s]`` of them shuffled by the random bits ``order``, int64 [S, N]."""
    filler = torch.arange(order.shape[1], device=order.device) >= total.unsqueeze(1)
    return order.masked_fill(filler, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
