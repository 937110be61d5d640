"""Who learns. `make_students` builds an engine by name; every engine follows `kdgym.students.base.Students`."""

from __future__ import annotations

import torch

from kdgym.students.base import Students
from kdgym.students.kernel import Tables
from kdgym.students.reasoner import Reasoners
from kdgym.students.transformer import Engine, TransformerConfig, TransformerStudents
from kdgym.tasks.base import Task

STUDENTS = {"transformer": TransformerStudents, "reasoner": Reasoners}

__all__ = [
    "STUDENTS",
    "Engine",
    "Reasoners",
    "Students",
    "Tables",
    "TransformerConfig",
    "TransformerStudents",
    "check_device",
    "make_students",
]


def check_device(name: str) -> torch.device:
    """The torch device called ``name``.

    Raises:
        ValueError: there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either, by kind of device
        raise ValueError(
            f"The device {name!r} cannot be used here: {str(error).splitlines()[0].rstrip('.')}. Try 'cpu'."
        ) from error
    return device


def make_students(name: str, task: Task, device: str, engine: Engine = "auto") -> Students:
    """The students called ``name``, for ``task``, on ``device``; see `TransformerStudents` for ``engine``.

    Raises:
        ValueError: there are no such students, or no such device.
        KernelUnavailableError: ``engine="kernel"``, and it cannot be had.
    """
    if name not in STUDENTS:
        raise ValueError(f"There is no student {name!r}; choose from {', '.join(STUDENTS)}.")
    return STUDENTS[name](task, TransformerConfig(), check_device(device), engine=engine)
