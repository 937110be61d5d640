"""What an episode spent, itemised per actor. A family charges; the population's ledger adds up."""

from __future__ import annotations

from torch import Tensor

ACTORS = ("student_training", "student_inference", "teacher", "data_engine", "judge", "memory")
UNITS = ("items", "tokens", "flops", "money")
SHAPE = (len(ACTORS), len(UNITS))


def charge(ledger: Tensor, actor: str, **amounts: Tensor | float) -> None:
    """Add amounts to a ledger [S, actors, units] in place: ``charge(ledger, "data_engine", items=n, money=m)``."""
    row = ledger[:, ACTORS.index(actor)]
    for unit, amount in amounts.items():
        row[:, UNITS.index(unit)] += amount


def itemise(ledger: Tensor) -> dict[str, dict[str, Tensor]]:
    """A ledger [S, actors, units] as nested dictionaries of [S] columns."""
    return {actor: {unit: ledger[:, i, j] for j, unit in enumerate(UNITS)} for i, actor in enumerate(ACTORS)}
