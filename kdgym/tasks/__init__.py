"""What is taught. `make_task` builds a task by name; every task follows `kdgym.tasks.base.Task`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kdgym.tasks.base import SPLITS, Misconception, Pool, Skill, Split, Task, UnreadableError
from kdgym.tasks.champ.task import Champ
from kdgym.tasks.code.task import Code
from kdgym.tasks.math import Math
from kdgym.tasks.reasoning.task import Reasoning
from kdgym.tasks.scratchpad import Scratchpad
from kdgym.tasks.vqa.task import VQA

TASKS: dict[str, Callable[..., Task]] = {
    "Math": Math,
    "Code": Code,
    "VQA": VQA,
    "Reasoning": Reasoning,
    "CHAMP": Champ,
    "Scratchpad": Scratchpad,
}
TEXT_ONLY = ("CHAMP",)  # too long for students that read tokens

__all__ = [
    "SPLITS",
    "TASKS",
    "TEXT_ONLY",
    "Misconception",
    "Pool",
    "Skill",
    "Split",
    "Task",
    "UnreadableError",
    "make_task",
    "task_options",
]


@lru_cache(maxsize=8)
def _build(name: str, options: str) -> Task:
    return TASKS[name](**json.loads(options))


def task_options(name: str) -> tuple[str, ...]:
    """Names of the options of a task; none if there is no such task."""
    return tuple(inspect.signature(TASKS[name]).parameters) if name in TASKS else ()


def make_task(name: str, **options: Any) -> Task:
    """The task called ``name`` (case matters). Tables are built once per process.

    Raises:
        ValueError: there is no such task, it has no such option, or an option is out of its range.
    """
    if name not in TASKS:
        raise ValueError(f"There is no task {name!r}; choose from {', '.join(TASKS)}.")
    known = task_options(name)
    for option in options:
        if option not in known:
            raise ValueError(f"The task {name} has no option {option!r}; it has {', '.join(known)}.")
    return _build(name, json.dumps({option: options[option] for option in sorted(options)}))
