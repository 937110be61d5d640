"""The ledger adds up what actors spend, student by student and unit by unit."""

from __future__ import annotations

import pytest
import torch

from kdgym.core.ledger import ACTORS, SHAPE, SIZE, UNITS, charge, flat, itemise


def test_charges_add_up_where_they_belong() -> None:
    ledger = torch.zeros(3, *SHAPE, dtype=torch.float64)
    charge(ledger, "data_engine", items=torch.tensor([1, 2, 3]), money=0.5)
    charge(ledger, "data_engine", torch.tensor([2]), items=10)
    charge(ledger, "judge", slice(0, 2), tokens=torch.tensor([7, 8]))
    found = itemise(ledger)
    assert list(found) == list(ACTORS) and all(list(units) == list(UNITS) for units in found.values())
    assert found["data_engine"]["items"].tolist() == [1, 2, 13]
    assert found["data_engine"]["money"].tolist() == [0.5, 0.5, 0.5]
    assert found["judge"]["tokens"].tolist() == [7, 8, 0]
    assert flat(ledger)["cost/judge/tokens"].tolist() == [7, 8, 0] and len(flat(ledger)) == SIZE
    assert float(ledger.sum()) == 16 + 1.5 + 15  # and nothing anywhere else
    assert ledger[0].numel() == SIZE


@pytest.mark.parametrize(("actor", "unit"), [("nobody", "items"), ("teacher", "hours")])
def test_what_is_not_in_the_ledger_cannot_be_charged(actor: str, unit: str) -> None:
    with pytest.raises(ValueError, match=r"not in tuple|is not in"):
        charge(torch.zeros(1, *SHAPE), actor, **{unit: 1.0})
