"""Students with habitual errors: pretrained on solutions with such errors, although they know every step.

Practice by reinforcement draws out what a student can do already (Gandhi et al., "Cognitive behaviors that enable
self-improving reasoners", 2025), so the base students of the Feedback family know every step and have bad habits. Each kind of
mistake is, for each student, either a habit, made more often than not, or a slip, made now and then.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.base import Batch, Students, Tables
from kdgym.students.base_students.pool import Cohort, keep, pretrain
from kdgym.tasks.scratchpad import Scratchpad

_KINDS = 4  # of mistakes, see `Scratchpad.careless`


@dataclass(frozen=True)
class Carelessness:
    """Constants of solutions with habitual errors, and of students pretrained on them.

    Attributes:
        items: solutions a student has read.
        habits: chance that a kind of mistake is a habit of a student.
        habit: range of the rate at which a habitual mistake is made, a step.
        slip: the same for the other kinds.
    """

    items: int
    habits: float
    habit: tuple[float, float]
    slip: tuple[float, float]

    def rates(self, person: Tensor) -> Tensor:
        """How often each person makes each kind of mistake: keys int64 [S] -> float64 [S, 4]."""
        habitual = random.uniform(random.fold(person, 0), _KINDS) < self.habits
        place = random.uniform(random.fold(person, 1), _KINDS)
        habit, slip = (low + (high - low) * place for low, high in (self.habit, self.slip))
        return torch.where(habitual, habit, slip)


def careless_students(
    students: Students,
    task: Scratchpad,
    pool: str,
    recipe: dict[str, Any],
    carelessness: Carelessness,
    number: Tensor,
) -> Tensor:
    """Weights of some of a pool's students with habitual errors, [n, students.weights]; from the cache, or pretrained once.

    Args:
        students: the engine that trains them.
        task: what they are pretrained in.
        pool: ``"train"`` or ``"evaluation"``.
        recipe: JSON-serialisable description of task and engine.
        carelessness: of what they read.
        number: which ones, int64 [n].
    """

    def build(cohort: Cohort) -> Tensor:
        key = cohort.key
        prompts = task.prompt.to(students.device)
        state, rates = students.initialise(random.fold(key, 3)), carelessness.rates(random.fold(key, 5)).unsqueeze(1)

        def learn(problem: Tensor, begin: int) -> None:
            written = task.careless(problem, random.fold(key, 6, begin).unsqueeze(1), rates).flatten(0, 1)
            ids = torch.arange(len(written), device=problem.device).view_as(problem)
            everything = torch.full_like(key, problem.shape[1])
            students.train(state, Batch(problem, ids, everything), Tables(prompts, written))

        share = torch.ones(len(key), len(task.skills), dtype=torch.float64, device=students.device)
        pretrain(task, random.fold(key, 4), share, carelessness.items, learn, f"Pretraining careless {cohort}, once")
        return state

    return keep(students, pool, {**recipe, "carelessness": asdict(carelessness)}, number, build)
