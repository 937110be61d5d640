"""What is taught. `make_task` builds a task by name; every task follows `kdgym.tasks.base.Task`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kdgym.tasks.base import SPLITS, Pool, Skill, Split, Task, UnreadableError
from kdgym.tasks.code import Code
from kdgym.tasks.math import Math
from kdgym.tasks.scratchpad import Scratchpad
from kdgym.tasks.vqa import VQA

TASKS: dict[str, Callable[..., Task]] = {"Math": Math, "Code": Code, "VQA": VQA, "Scratchpad": Scratchpad}

__all__ = ["SPLITS", "TASKS", "Pool", "Skill", "Split", "Task", "UnreadableError", "make_task"]


@lru_cache(maxsize=8)
def _build(name: str, options: tuple[tuple[str, Any], ...]) -> Task:
    return TASKS[name](**dict(options))


def make_task(name: str, **options: Any) -> Task:
    """The task called ``name`` (case matters). Tables are built once per process.

    Raises:
        ValueError: there is no such task, or an option is out of its range.
    """
    if name not in TASKS:
        raise ValueError(f"There is no task {name!r}; choose from {', '.join(TASKS)}.")
    return _build(name, tuple(sorted(options.items())))
