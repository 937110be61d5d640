"""Student engines. `make_students` makes students by name; all follow `kdgym.students.base.Students`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint
from typing import Any

import torch

from kdgym.plugins import Registry
from kdgym.settings import Settings
from kdgym.students.base import Batch, Students, Tables
from kdgym.students.language.options import LanguageOptions
from kdgym.students.tiny.transformer import Engine, TransformerConfig, TransformerStudents
from kdgym.tasks.base import Task

__all__ = [
    "STUDENTS",
    "Batch",
    "Engine",
    "StudentKind",
    "Students",
    "Tables",
    "TransformerConfig",
    "TransformerStudents",
    "check_device",
    "is_language_model",
    "make_students",
    "recommended_population",
    "recommended_settings",
    "register_students",
]


@dataclass(frozen=True)
class StudentKind:
    """Students that a name stands for.

    Attributes:
        make: makes the engine from the keywords ``task``, ``options`` (checked), ``device``, ``engine``, ``dtype`` (those
            settings of environments) and ``model`` (what stands behind the name and a colon, or ``""``).
        options: what ``student_options`` may be.
        settings: of environments, where others than the usual ones suit these students.
        population: how many to teach side by side, where nobody says.
        language_model: whether they read words; these are slow, and are not pretrained here.
        model: what has to stand behind the name and a colon, in capitals; ``""`` for nothing.
    """

    make: Callable[..., Students]
    options: type[Settings] = Settings
    settings: Mapping[str, Any] = field(default_factory=dict)
    population: int = 64
    language_model: bool = False
    model: str = ""


def _tiny(
    task: Task, options: TransformerConfig, device: torch.device, engine: Engine, dtype: str, model: str
) -> Students:
    if dtype != "float32":
        raise ValueError(f"Tiny students learn in float32; dtype={dtype!r} is for language models.")
    return TransformerStudents(task, options, device, engine=engine)


@lru_cache(maxsize=4)
def _language_models(
    task: Task, options: LanguageOptions, device: torch.device, engine: Engine, dtype: str, model: str
) -> Students:
    """Branches of an environment share the engine, which keeps nothing between calls."""
    from kdgym.llm.models import resolve
    from kdgym.students.language.reasoner import LanguageReasoners  # transformers takes seconds to import

    return LanguageReasoners(resolve(model), task, options, device, getattr(torch, dtype))


STUDENTS: dict[str, StudentKind] = {
    "transformer": StudentKind(_tiny, TransformerConfig),
    "reasoner": StudentKind(_tiny, TransformerConfig),  # the same: records of the Feedback family call them so
    # A language model reads a hundred times as many tokens a problem as a tiny student, with ten thousand times the weights.
    "hf": StudentKind(
        _language_models,
        LanguageOptions,
        settings={"steps": 6, "budget": 6 * 96.0, "validation_items": 4, "test_items": 16},
        population=4,
        language_model=True,
        model="MODEL",
    ),
}


_REGISTRY: Registry[StudentKind] = Registry("kdgym.students", "student", lambda: STUDENTS, EntryPoint.load)


def register_students(name: str, kind: StudentKind) -> None:
    """Add students of another package: ``student=name``, or ``student="name:..."`` if ``kind`` takes a model.

    A package that is installed names its `StudentKind` in the entry-point group ``kdgym.students`` instead.

    Raises:
        ValueError: there are students of that name, or it holds a colon, which separates a name from its model.
    """
    if ":" in name:
        raise ValueError(f"The name {name!r} holds a colon, behind which a model is named; choose another name.")
    _REGISTRY.add(name, kind)


def _kind(name: str) -> StudentKind | None:
    first, colon, model = name.partition(":")
    kind = _REGISTRY[first] if first and first in _REGISTRY else None
    return kind if kind and bool(colon) == bool(model) == bool(kind.model) else None


def check_device(name: str) -> torch.device:
    """The torch device called ``name``.

    Raises:
        ValueError: there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" has no numbers
    except (RuntimeError, AssertionError, ImportError) as error:  # torch raises any of these, by kind of device
        raise ValueError(
            f"The device {name!r} cannot be used here: {str(error).splitlines()[0].rstrip('.')}. Try 'cpu'."
        ) from error
    return device


def is_language_model(name: str) -> bool:
    """Whether the students called ``name`` are language models, which are slow and read text."""
    kind = _kind(name)
    return kind is not None and kind.language_model


def recommended_settings(name: str) -> dict[str, Any]:
    """Environment settings that suit the students called ``name``, where they differ from the usual ones."""
    kind = _kind(name)
    return dict(kind.settings) if kind else {}


def recommended_population(name: str) -> int:
    """Default size of a population of the students called ``name``."""
    kind = _kind(name)
    return kind.population if kind else 64


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
        name: a name in `STUDENTS`: ``"transformer"``, or ``"hf:"`` and a directory, a model prepared by ``kdgym models add``,
            or a hub id.
        task: what is taught.
        device: a torch device.
        engine: of tiny students, see `TransformerStudents`.
        dtype: floating-point type of the model.
        options: see `TransformerConfig` and `kdgym.students.language.options.LanguageOptions`.

    Raises:
        ValueError: there are no such students, no such device, an option is refused, or the package that names the students
            is broken.
        KernelUnavailableError: ``engine="kernel"``, and it cannot be had.
    """
    kind = _kind(name)
    if kind is None:
        known = [f"{known}:{kind.model}" if kind.model else known for known, kind in _REGISTRY.usable().items()]
        raise ValueError(f"There is no student {name!r}; choose from {', '.join(known)}.")
    return kind.make(
        task=task,
        options=kind.options.parse(options or {}),
        device=check_device(device),
        engine=engine,
        dtype=dtype,
        model=name.partition(":")[2],
    )
