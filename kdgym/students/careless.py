"""Students who know how it is done and yet do it wrong: schooled on what careless people write.

Practice by reinforcement draws out what a student can do already (Gandhi et al., "Cognitive behaviors that enable
self-improving reasoners", 2025), so the base students of the Feedback family know every step and have bad habits. Each kind of
mistake is, for each student, either a habit, made more often than not, or a slip, made now and then.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.base import Students
from kdgym.students.kernel import Tables
from kdgym.students.pool import Schooling
from kdgym.tasks.scratchpad import Scratchpad

_KINDS = 4  # of mistakes, see `Scratchpad.careless`


@dataclass(frozen=True)
class CarelessSchooling(Schooling):
    """Solutions of a `Scratchpad` with each student's own mistakes in them.

    Attributes:
        habits: chance that a kind of mistake is a habit of a student.
        habit: range of the rate at which a habitual mistake is made, a step.
        slip: the same for the other kinds.
    """

    habits: float = 0.5
    habit: tuple[float, float] = (0.55, 0.85)
    slip: tuple[float, float] = (0.02, 0.2)

    def rates(self, person: Tensor) -> Tensor:
        """How often each student makes each kind of mistake: keys int64 [S] -> float64 [S, 4]."""
        habitual = random.uniform(random.fold(person, 0), _KINDS) < self.habits
        place = random.uniform(random.fold(person, 1), _KINDS)
        habit, slip = (low + (high - low) * place for low, high in (self.habit, self.slip))
        return torch.where(habitual, habit, slip)

    def answers(self, students: Students, person: Tensor, key: Tensor, problem: Tensor) -> tuple[Tensor, Tables | None]:
        """See `Schooling.answers`."""
        task = students.task
        if not isinstance(task, Scratchpad):
            raise TypeError(f"Careless solutions exist for the task Scratchpad, not for {task.name}.")
        written = task.careless(problem, key.unsqueeze(1), self.rates(person).unsqueeze(1)).flatten(0, 1)
        ids = torch.arange(len(written), device=problem.device).view_as(problem)
        return ids, Tables(task.prompt.to(problem.device), written)
