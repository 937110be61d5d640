"""Items of equal form without content: what a student learns of them is the format, and nothing else.

Part of what any training gives a language model is that it answers in the expected form at all; a published gain on a
mathematics benchmark was mostly that. A twin that gets the same problems with other problems' answers learns the form, the
lengths and how frequent each answer is, but not how answers follow from problems. What a student is ahead of its twin is
what it learned.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import Task


class Placebo:
    """Replaces answers by those of other problems of the same skill.

    Args:
        task: what is taught; answers come from its train split.
        device: where lessons are made.
    """

    def __init__(self, task: Task, device: torch.device) -> None:
        pool = task.pool("train")
        self._skill, self._solution = task.skill_of.to(device), task.solution.to(device)
        self._start, self._count = pool.start.to(device), pool.count.to(device)

    def answers(self, problem: Tensor, answer: Tensor, total: Tensor, key: Tensor) -> Tensor:
        """Answers without content.

        Args:
            problem, answer: ids of a lesson's items, int64 [S, N]; ids behind the task's own are a teacher's items.
            total: items of each student, int64 [S].
            key: keys [S] of random streams.

        Returns:
            For a problem of the task the answer of a random other problem of its skill; for a teacher's own the answer of
            another of its items in this lesson, int64 [S, N].
        """
        own = problem >= len(self._skill)
        skill = self._skill[problem.masked_fill(own, 0)]
        first, number = self._start[skill], self._count[skill]
        other = first + random.to_integers(random.bits(key, problem.shape[1]), number)
        other = torch.where(other == problem, first + (other - first + 1) % number, other)
        return torch.where(own, _next_of(own & _first(total, problem.shape[1]), answer), self._solution[other])


def _first(total: Tensor, size: int) -> Tensor:
    """Which of ``size`` places are among the first ``total``, bool [S, size]."""
    return torch.arange(size, device=total.device) < total.unsqueeze(1)


def _next_of(chosen: Tensor, value: Tensor) -> Tensor:
    """At every chosen place the value of the next chosen one in its row, around the end; elsewhere anything."""
    order = (~chosen).long().argsort(dim=1, stable=True)  # the chosen ones first
    number = chosen.sum(1, keepdim=True).clamp_min(1)
    rank = chosen.long().cumsum(1) - 1
    return value.gather(1, order.gather(1, ((rank + 1) % number).clamp_min(0)))
