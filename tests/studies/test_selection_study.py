"""The tables of docs/select.md are those of docs/select.json, and say of a claim what its interval says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from kdgym.envs.select.select import DIALS, Select
from kdgym.evaluation.report import with_tables
from kdgym.registration import find
from kdgym.spaces import Dials
from kdgym.studies import distillation, selection


def measured(**accuracy: float) -> dict[str, Any]:
    """Ten students a teacher, all of the accuracy 0.5 but for what is given; no two are alike."""
    entry = find(selection.ID)
    names = {*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others, "select_search"}
    names |= {distillation.KNOWN + name for pair in selection.PAPERS[:3] for name in pair[:2]}
    noise = np.random.default_rng(0).normal(size=(len(names), 10)) * 0.01
    return {"accuracy": {n: list(accuracy.get(n, 0.5) + noise[i]) for i, n in enumerate(sorted(names))}}


@pytest.mark.parametrize(("higher", "sign"), [("kd3", "holds"), ("kd3_scorer", "does not hold"), ("", "not clear")])
def test_a_claim_holds_where_its_interval_says_so(higher: str, sign: str) -> None:
    table = selection.tables(measured(**{higher: 0.6, f"{distillation.KNOWN}{higher}": 0.7}))["papers"]
    (row,) = [line.split(" | ") for line in table.splitlines() if "| KD3 |" in line]
    assert row[6] == sign
    assert row[8].rstrip(" |") == sign


def test_the_headroom_table_compares_with_the_best_constant_recipe_and_the_best_rule() -> None:
    table = selection.tables(measured(mini_plm=0.6, trying_scorer=0.7, informed_scorer=0.8))["headroom"].splitlines()
    rows = {line.split(" | ")[0][2:]: line for line in table}
    assert "best constant" in rows["mini_plm"]
    assert rows["trying_scorer"].endswith("] mini_plm |")
    assert "+0.1" in rows["trying_scorer"]
    assert rows["informed_scorer"].endswith("] trying_scorer |")


def test_a_rule_that_knows_trusts_the_right_scorers_alone() -> None:
    space = Dials(DIALS)
    agent = distillation.knowing("kd3", "scorer")(None, space)
    envs = Select(2, steps=1, items=20, test_items=10)
    good = np.array([[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]])
    envs.hidden = lambda: {"good": good}  # type: ignore[method-assign]
    agent.attach(envs)
    assert np.array_equal(
        agent.act({"time": np.ones((2, 1))}),
        space.encode(scorer=good, combined_entropy=-1, keep=0.5, within_class=0, labels=1),
    )


def test_the_page_has_the_tables_of_the_measurement() -> None:
    page = (distillation.FOLDER / "select.md").read_text()
    found = json.loads((distillation.FOLDER / "select.json").read_text())
    assert distillation.written(found) == (distillation.FOLDER / "select.json").read_text()
    assert with_tables(page, selection.tables(found)) == page
