"""Wrong rules of a task as tables: what they answer, and where that is wrong."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from kdgym.tasks.base import SPLITS, Task


class WrongRules(NamedTuple):
    """All M misconceptions of a task, applied to all its problems.

    Attributes:
        answer: what a student with each misconception answers, tokens int64 [M, P, A].
        wrong: where that is not right, bool [M, P]; elsewhere the misconception does not show.
    """

    answer: Tensor
    wrong: Tensor


@lru_cache(maxsize=8)
def wrong_rules(task: Task) -> WrongRules:
    """The tables of a task's misconceptions, built once a process.

    Raises:
        ValueError: with the task's options, a wrong rule is right on all problems of a split.
    """
    problems = torch.arange(len(task.prompt))
    answer = torch.stack([task.mistaken(misconception) for misconception in task.misconceptions])
    different = (answer != task.answer[task.solution]).any(-1)
    wrong = torch.zeros_like(different)
    for m, tokens in enumerate(answer):
        here = problems[different[m]]
        wrong[m, here] = ~task.judge(here, tokens[here])
        _require_to_show(task, task.misconceptions[m].name, problems[wrong[m]])
    return WrongRules(answer, wrong)


def _require_to_show(task: Task, name: str, wrong: Tensor) -> None:
    for split in SPLITS:
        pool, skill = task.pool(split), task.skill_of[wrong]
        if not ((wrong >= pool.start[skill]) & (wrong < pool.start[skill] + pool.count[skill])).any():
            raise ValueError(
                f"With these options of {task.name} the misconception {name} changes no answer in the split {split}; "
                "choose other options of the task (more digits, say), or no misconceptions."
            )


def choose_misconceptions(task: Task, wanted: int | tuple[str, ...]) -> tuple[int, Tensor]:
    """How many misconceptions every student is to have, and which it may have.

    Args:
        task: whose misconceptions.
        wanted: a number, drawn from all for every student; or names, which every student has.

    Returns:
        The number, and bool [M].

    Raises:
        ValueError: there is no such misconception, or there are not so many.
    """
    names = [misconception.name for misconception in task.misconceptions]
    if isinstance(wanted, int):
        if not 0 <= wanted <= len(names):
            known = f"{len(names)}: {', '.join(names)}" if names else "none"
            raise ValueError(f"misconceptions is {wanted}; {task.name} knows {known}.")
        return wanted, torch.ones(len(names), dtype=torch.bool)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"{task.name} knows no misconception {unknown[0]!r}; choose from {', '.join(names)}.")
    return len(set(wanted)), torch.tensor([name in wanted for name in names])
