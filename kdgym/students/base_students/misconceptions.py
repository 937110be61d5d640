"""Base students with misconceptions: those of the pool, pretrained for a while longer, with wrong rules instead of right ones.

Every student's twin without misconceptions is thus the student of the same number of the ordinary pool.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.base import Batch, Students, Tables
from kdgym.students.base_students.pool import Cohort, base_students, draw_mixtures, everybody, keep, pretrain
from kdgym.tasks.base import Task
from kdgym.tasks.misconceptions import choose_misconceptions, wrong_rules

_VERSION = 0
_ITEMS = 4096  # of the second pretraining
_FOCUS = 0.5  # share of those in the skills that the student has misconceptions about; the others are right
_HELD, _LESSON = 5, 6  # purposes of a base student's random streams, after those of its first pretraining


def held_misconceptions(task: Task, pool: str, wanted: int | tuple[str, ...], device: torch.device) -> Tensor:
    """Which misconceptions every base student has, bool [POOL_SIZE, M].

    Args:
        task: whose M misconceptions.
        pool: ``"train"`` or ``"evaluation"``.
        wanted: how many, drawn for every student; or names, which every student has.
        device: where the students are.

    Raises:
        ValueError: there is no such misconception, or there are not so many.
    """
    number, allowed = choose_misconceptions(task, wanted)
    chance = random.uniform(random.fold(everybody(pool, device).key, _HELD), len(allowed))
    return chance.masked_fill(~allowed.to(device), 1.0).argsort(dim=1, stable=True).argsort(dim=1) < number


def misled_students(
    students: Students, pool: str, recipe: dict[str, Any], wanted: int | tuple[str, ...], base: Tensor
) -> Tensor:
    """Weights of those of a pool's base students, with misconceptions, [n, students.weights]; see `base_students`.

    Where a student has two wrong rules for one problem, it follows the first in the task's order.

    Raises:
        ValueError: there is no such pool or misconception, or there are not so many.
    """
    number, allowed = choose_misconceptions(students.task, wanted)
    names = [m.name for m, may in zip(students.task.misconceptions, allowed.tolist(), strict=True) if may]
    second = {"misconceptions": names, "number": number, "misled": _VERSION}
    return keep(students, pool, {**recipe, **second}, base, lambda cohort: _mislead(students, cohort, recipe, wanted))


def _mislead(students: Students, cohort: Cohort, recipe: dict[str, Any], wanted: int | tuple[str, ...]) -> Tensor:
    task, device, key = students.task, students.device, cohort.key
    held = held_misconceptions(task, cohort.pool, wanted, device)[cohort.number]
    state = torch.zeros(len(key), students.row, dtype=students.dtype, device=device)
    state[:, : students.weights] = base_students(students, cohort.pool, recipe, cohort.number)
    rules, own = wrong_rules(task), Tables.of(task, device)
    tables = replace(own, answers=torch.cat([own.answers, rules.answer.flatten(0, 1).to(device)]))
    wrong, solution = rules.wrong.to(device), task.solution.to(device)

    def learn(problem: Tensor, begin: int) -> None:
        followed = wrong[:, problem] & held.T.unsqueeze(2)
        rule = followed.long().argmax(0)  # the first of several
        answer = torch.where(followed.any(0), len(task.answer) + rule * len(task.prompt) + problem, solution[problem])
        students.train(state, Batch(problem, answer, torch.full_like(problem[:, 0], problem.shape[1])), tables)

    pretrain(task, random.fold(key, _LESSON), _mixtures(task, key, held), _ITEMS, learn, f"Misleading {cohort}, once")
    return state


def _mixtures(task: Task, key: Tensor, held: Tensor) -> Tensor:
    """Half the skills that misconceptions are about, each misconception alike, half the mixture of the first pretraining."""
    about = torch.tensor([[skill.name in m.skills for skill in task.skills] for m in task.misconceptions]).double()
    focus = held.double() @ (about / about.sum(1, keepdim=True)).to(key.device)
    mixture = draw_mixtures(key, len(task.skills))
    return _FOCUS * focus / focus.sum(1, keepdim=True) + (1 - _FOCUS) * mixture / mixture.sum(1, keepdim=True)
