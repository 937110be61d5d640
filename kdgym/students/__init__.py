"""Student engines. `make_students` builds an engine by name; every engine follows `kdgym.students.base.Students`."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch

from kdgym.students.base import Batch, Students, Tables
from kdgym.students.tiny.reasoner import Reasoners
from kdgym.students.tiny.transformer import Engine, TransformerConfig, TransformerStudents
from kdgym.tasks.base import Task

STUDENTS = ("transformer", "reasoner", "hf:MODEL")
_HUGGING_FACE = "hf:"
# A language model reads about a hundred times as many tokens a problem as a tiny student, with ten thousand times the weights.
_FOR_LANGUAGE_MODELS = {"steps": 6, "budget": 6 * 96.0, "validation_items": 4, "test_items": 16}

__all__ = [
    "STUDENTS",
    "Batch",
    "Engine",
    "Reasoners",
    "Students",
    "Tables",
    "TransformerConfig",
    "TransformerStudents",
    "check_device",
    "is_language_model",
    "make_students",
    "recommended_population",
    "recommended_settings",
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


def is_language_model(name: str) -> bool:
    """Whether the students called ``name`` are language models, which are slow and read text."""
    return name.startswith(_HUGGING_FACE)


def recommended_settings(name: str) -> dict[str, Any]:
    """Environment settings that suit the students called ``name``, where they differ from the usual ones."""
    return dict(_FOR_LANGUAGE_MODELS) if is_language_model(name) else {}


def recommended_population(name: str) -> int:
    """Default size of a population of the students called ``name``."""
    return 4 if is_language_model(name) else 64


def make_students(
    name: str,
    task: Task,
    device: str,
    engine: Engine = "auto",
    dtype: str = "float32",
    options: dict[str, Any] | None = None,
) -> Students:
    """The students called ``name``, for ``task``, on ``device``.

    Args:
        name: ``"transformer"``, or ``"hf:"`` and a directory, a model prepared by ``kdgym models add``, or a hub id.
        task: what is taught.
        device: a torch device.
        engine: of tiny students, see `TransformerStudents`.
        dtype: floating-point type of the model.
        options: of language models, see `kdgym.students.language.students.LanguageOptions`.

    Raises:
        ValueError: there are no such students, no such device, or an option is refused.
        KernelUnavailableError: ``engine="kernel"``, and it cannot be had.
    """
    place = check_device(device)
    if is_language_model(name):
        return _language_students(name, task, str(place), dtype, json.dumps(options or {}, sort_keys=True))
    if name not in STUDENTS:
        raise ValueError(f"There is no student {name!r}; choose from {', '.join(STUDENTS)}.")
    if options:
        raise ValueError(f"The student {name!r} has no options; {', '.join(options)} was given.")
    if dtype != "float32":
        raise ValueError(f"The student {name!r} learns in float32; dtype={dtype!r} is for language models.")
    kind = Reasoners if name == "reasoner" else TransformerStudents
    return kind(task, TransformerConfig(), place, engine=engine)


@lru_cache(maxsize=4)
def _language_students(name: str, task: Task, device: str, dtype: str, options: str) -> Students:
    """Branches of an environment share the engine, which keeps nothing between calls."""
    from kdgym.llm.models import resolve
    from kdgym.students.language.reasoner import LanguageReasoners
    from kdgym.students.language.students import LanguageOptions  # transformers takes seconds to import

    path = resolve(name.removeprefix(_HUGGING_FACE))
    return LanguageReasoners(path, task, LanguageOptions.parse(json.loads(options)), device, getattr(torch, dtype))
