"""What is taught. `make_task` builds a task by name; every task follows `kdgym.tasks.base.Task`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from kdgym.plugins import Registry
from kdgym.tasks.base import SPLITS, Misconception, Pool, Skill, Split, Task, UnreadableError
from kdgym.tasks.champ.task import Champ
from kdgym.tasks.code.task import Code
from kdgym.tasks.dataset.task import Dataset
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
FROM_FILES: dict[str, Callable[..., Task]] = {"dataset": Dataset}  # each needs a source
TEXT_ONLY = ("CHAMP",)  # too long for students that read tokens

__all__ = [
    "REGISTRY",
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
    "register_task",
    "task_options",
]


REGISTRY: Registry[Callable[..., Task]] = Registry("kdgym.tasks", "task", lambda: TASKS | FROM_FILES, EntryPoint.load)


def register_task(name: str, make: Callable[..., Task]) -> None:
    """Add a task of another package: for environments that take ``task=``, and for `make_task`.

    A package that is installed names it in the entry-point group ``kdgym.tasks`` instead.

    Args:
        name: for ``task=``.
        make: makes the task; its arguments, which JSON can say, are the task's options.

    Raises:
        ValueError: there is a task of that name.
    """
    REGISTRY.add(name, make)


@lru_cache(maxsize=8)
def _build(name: str, options: str, changed: int) -> Task:
    return REGISTRY[name](**json.loads(options))


def _split(named: str) -> tuple[str, dict[str, str]]:
    """The registered name, and what stands behind its colon: the argument ``source``."""
    name, _, source = named.partition(":")
    return (name, {"source": source}) if source and named not in REGISTRY else (named, {})


def task_options(name: str) -> tuple[str, ...]:
    """Names of the options of a task; none if there is no such task."""
    name = _split(name)[0]
    return tuple(inspect.signature(REGISTRY[name]).parameters) if name in REGISTRY else ()


def make_task(name: str, **options: Any) -> Task:
    """The task called ``name`` (case matters). Tables are built once per process, or when a file has changed.

    Args:
        name: of a task; one that is made from files has a source behind a colon, ``"dataset:items.jsonl"``.
        options: the task's own.

    Raises:
        ValueError: there is no such task, it has no such option, an option is out of its range, or the package that names
            the task is broken.
    """
    registered, source = _split(name)
    if registered not in REGISTRY:
        raise ValueError(f"There is no task {name!r}; choose from {', '.join(REGISTRY.names())}.")
    known, options = inspect.signature(REGISTRY[registered]).parameters, {**options, **source}
    for option in options:
        if option not in known:
            raise ValueError(f"The task {name} has no option {option!r}; it has {', '.join(known)}.")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise ValueError(
                f"The task {name} needs {option}: write task='{name}:{option.upper()}', as in dataset:items.jsonl."
            )
    file = Path(str(options.get("source", "")).rpartition(":")[2])
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _build(registered, json.dumps({option: options[option] for option in sorted(options)}), changed)
