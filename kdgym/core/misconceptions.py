"""Students with misconceptions: those at the start of the episode, and what remains of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdgym.core.fields import Fields, Layout
from kdgym.students.base import Students
from kdgym.students.base_students.misconceptions import held_misconceptions, misled_students
from kdgym.students.base_students.pool import draw_numbers
from kdgym.tasks.misconceptions import wrong_rules


class Misconceptions:
    """The misconceptions of a course's students. Which student has which is state, and never observation or info.

    Args:
        students: the engine.
        pool: ``"train"`` or ``"evaluation"``.
        wanted: how many misconceptions every student has, or the names of those that all have.

    Attributes:
        held: which of the M misconceptions each base student has, bool [POOL_SIZE, M].
        layout: the state they add: ``held``, bool [M], and ``start``, the weights at the beginning of the episode.

    Raises:
        ValueError: there is no such misconception, or there are not so many.
    """

    def __init__(self, students: Students, pool: str, wanted: int | tuple[str, ...]) -> None:
        self._students, self._pool, self._wanted = students, pool, wanted
        self.held = held_misconceptions(students.task, pool, wanted, students.device)
        self._answer, self._wrong = (table.to(students.device) for table in wrong_rules(students.task))
        self.layout: Layout = {
            "held": ((self.held.shape[1],), torch.bool),
            "start": ((students.weights,), students.dtype),
        }

    def draw_base(self, key: Tensor, recipe: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Students with misconceptions, one a key, in place of `Students.draw_base`: weights [S, weights], held bool [S, M]."""
        base = draw_numbers(key)
        recipe = {**recipe, **self._students.recipe}
        return misled_students(self._students, self._pool, recipe, self._wanted, base), self.held[base]

    def followed(self, problem: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """On which problems each rule is wrong, and on which of those it was followed to the letter.

        Args:
            problem: problem ids, int64 [..., N].
            given: answers to them, tokens int64 [..., N, A].

        Returns:
            bool [M, ..., N] each.
        """
        wrong = self._wrong[:, problem]
        return wrong, wrong & (given == self._answer[:, problem]).all(-1)

    def examine(self, state: Fields, items: Tensor) -> dict[str, Tensor]:
        """Students' answers to ``items`` at the start of the episode and now, compared.

        Returns:
            ``held`` (bool [S, M]); ``expression_before`` and ``expression`` (float64 [S, M]: share of the items on which a
            wrong rule is wrong that were, and are, answered as it says); ``cured`` (float64 [S, M]: share of the items
            answered as it says at the start that are right now; 0 if there were none); ``harm`` (float64 [S]: share of all
            items right at the start that are wrong now; 0 if there were none).
        """
        students, problem = self._students, items.expand(len(state["held"]), -1)
        first = torch.zeros_like(state["student"])
        first[:, : students.weights] = state["start"]
        answers = [students.decode(student, problem) for student in (first, state["student"])]
        right_before, right = (students.judge(problem, given) for given in answers)
        (wrong, before), (_, now) = (self.followed(problem, given) for given in answers)
        return {
            "held": state["held"],
            "expression_before": _share(before, wrong).T,
            "expression": _share(now, wrong).T,
            "cured": _share(right, before).T,
            "harm": _share(~right, right_before),
        }


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Share of ``whole`` that is ``part`` too, over the last axis; 0 of nothing."""
    return (part & whole).sum(-1).double() / whole.sum(-1).clamp_min(1)
