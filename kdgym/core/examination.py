"""How a population is scored: unaided, on fixed items, without a trace."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdgym.core.population import Array
from kdgym.tasks.base import SPLITS, Split, Task
from kdgym.tasks.examination import fixed_items

_ITEMS = 128  # of a skill
Evaluate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def sit_examination(task: Task, split: Split, evaluate: Evaluate, state: Tensor, target: Tensor) -> dict[str, Array]:
    """Ask every student up to 128 fixed items a skill.

    Args:
        task: the task.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        evaluate: the students' own; see `kdgym.students.base.Students.evaluate`.
        state: [S, row].
        target: what each skill counts, [S, K].

    Returns:
        ``right`` and ``asked`` (int64 [S, K]), ``target`` (float32 [S, K]) and ``score`` (float64 [S], target-weighted
        accuracy).

    Raises:
        ValueError: there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    items = fixed_items(task, split, _ITEMS).to(state.device)
    right, _ = evaluate(state, items.expand(len(state), -1))
    skill = task.skill_of.to(state.device)[items]
    asked = torch.bincount(skill, minlength=len(task.skills)).expand(len(state), -1)
    correct = torch.zeros_like(asked).scatter_add(1, skill.expand(len(state), -1), right.long())
    score = (target.double() * correct / asked).sum(1)
    result = {"right": correct, "asked": asked, "target": target, "score": score}
    return {name: value.cpu().numpy().copy() for name, value in result.items()}
