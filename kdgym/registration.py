"""Every environment in one table. Registering is data: nothing heavy is imported until an environment is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym


@dataclass(frozen=True)
class Entry:
    """One environment id.

    Attributes:
        id: ``kdgym/<Family>-<Task>[-<Level>]-v<N>``.
        family: module of `kdgym.envs`.
        population: class of the population in that module; the single view is called ``<population>Env``.
        summary: one line for ``kdgym list``.
        published: the agent that follows the published rule this family is measured against.
        settings: keyword arguments that make this id what it is.
    """

    id: str
    family: str
    population: str
    summary: str
    published: str
    settings: dict[str, Any] = field(default_factory=dict)


ENVIRONMENTS = (
    Entry(
        "kdgym/DataGen-Math-v0",
        "datagen",
        "SkillList",
        "Split a data budget over 14 arithmetic skills and data engines of hidden quality.",
        "weakest_skill",
        {"task": "Math"},
    ),
    Entry(
        "kdgym/DataGen-VQA-v0",
        "datagen",
        "SkillList",
        "The same over 15 kinds of questions about pictures of handwritten digits.",
        "weakest_skill",
        {"task": "VQA"},
    ),
)


def register_all() -> None:
    """Enter the table into Gymnasium's registry."""
    for entry in ENVIRONMENTS:
        module = f"kdgym.envs.{entry.family}"
        gym.register(
            id=entry.id,
            entry_point=f"{module}:{entry.population}Env",
            vector_entry_point=f"{module}:{entry.population}",
            kwargs=entry.settings,
        )


def find(id: str) -> Entry:
    """The table's row of an id.

    Raises:
        ValueError: there is no such environment.
    """
    for entry in ENVIRONMENTS:
        if entry.id == id:
            return entry
    raise ValueError(f"There is no environment {id!r}; choose from {', '.join(e.id for e in ENVIRONMENTS)}.")
