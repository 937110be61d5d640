"""The examination that scores: fixed items of every skill, unaided, on students or on copies that went on learning."""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym.students.base import Batch, Students
from kdgym.tasks import SPLITS, Split
from kdgym.tasks.examination import draw_practice, fixed_items


class Examiner:
    """Asks all students the same items, without any cost or effect on them.

    Args:
        students: the engine; its task's items are asked.
        most: items of a skill, at most.
        draw: which ones; see `fixed_items`.
    """

    def __init__(self, students: Students, most: int, draw: int = 0) -> None:
        self._students, self._most, self._draw = students, most, draw
        self._skill_of = students.task.skill_of.to(students.device)
        self._items: dict[Split, Tensor] = {}

    def items(self, split: Split) -> Tensor:
        """Up to ``most`` problems of every skill, int64 [n].

        Raises:
            ValueError: there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
        if split not in self._items:
            self._items[split] = fixed_items(self._students.task, split, self._most, self._draw).to(
                self._students.device
            )
        return self._items[split]

    def mark(self, state: Tensor, split: Split) -> tuple[Tensor, Tensor]:
        """How many items of each skill are right, and were asked: students [S, row] -> int64 [S, K] each."""
        items = self.items(split)
        right, _ = self._students.evaluate(state, items.expand(len(state), -1))
        skill = self._skill_of[items]
        asked = torch.bincount(skill, minlength=len(self._students.task.skills)).expand(len(state), -1)
        return torch.zeros_like(asked).scatter_add(1, skill.expand(len(state), -1), right.long()), asked

    def practise(self, state: Tensor, key: Tensor, share: Tensor, items: int, split: Split) -> tuple[Tensor, Tensor]:
        """Accuracy before and after copies of the students practised.

        Args:
            state: students [S, row]; left as they are.
            key: their random streams, int64 [S].
            share: of what they practise, by skill, float64 [S, K].
            items: right items of the train split that each copy learns.
            split: what is asked.

        Returns:
            float64 [S, K] each.

        Raises:
            ValueError: ``items`` is below 1, or there is no such split.
        """
        if items < 1:
            raise ValueError(f"items is {items}; students practise at least 1 item.")
        before, asked = self.mark(state, split)
        task, copies = self._students.task, state.clone()
        problem = draw_practice(task, key, share, items)
        answer = task.solution.to(problem.device)[problem]
        self._students.train(copies, Batch(problem, answer, torch.full_like(key, items)))
        after, _ = self.mark(copies, split)
        return before.double() / asked, after.double() / asked
