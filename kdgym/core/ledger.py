"""What an episode spent, itemised per actor. A family charges; the population's ledger adds up."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy.typing as npt
from torch import Tensor

ACTORS = ("student_training", "student_inference", "teacher", "data_engine", "judge", "memory", "tools")
UNITS = ("items", "tokens", "flops", "money")
SHAPE = (len(ACTORS), len(UNITS))
SIZE = len(ACTORS) * len(UNITS)


Column = TypeVar("Column", Tensor, npt.NDArray[Any])


def charge(ledger: Tensor, actor: str, students: Tensor | slice = slice(None), /, **amounts: Tensor | float) -> None:
    """Add amounts to a ledger [S, actors, units] in place: ``charge(ledger, "data_engine", items=n, money=m)``."""
    for unit, amount in amounts.items():
        ledger[students, ACTORS.index(actor), UNITS.index(unit)] += amount


def flat(ledger: Column) -> dict[str, Column]:
    """A ledger [S, actors, units] as infos tell it: ``cost/<actor>/<unit>`` -> [S]. No key is a method of what holds infos."""
    return {
        f"cost/{actor}/{unit}": column for actor, units in itemise(ledger).items() for unit, column in units.items()
    }


def itemise(ledger: Column) -> dict[str, dict[str, Column]]:
    """A ledger [S, actors, units] as nested dictionaries of [S] columns."""
    return {actor: {unit: ledger[:, i, j] for j, unit in enumerate(UNITS)} for i, actor in enumerate(ACTORS)}
