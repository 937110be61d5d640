"""The tables of docs/label.md are those of docs/label.json, and say of a claim what its interval says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from kdgym.evaluation.report import with_tables
from kdgym.registration import find
from kdgym.studies import distillation, labelling


def measured(**accuracy: float) -> dict[str, Any]:
    """Ten students a teacher, all of the accuracy 0.5 but for what is given; no two are alike."""
    entry = find(labelling.ID)
    names = {*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others, "label_search"}
    noise = np.random.default_rng(0).normal(size=(len(names), 10)) * 0.01
    named = {key: [0, 1, 0, 0] for key in ("first_sight", "first_sight_with_validation")}
    scores = {n: list(accuracy.get(n, 0.5) + noise[i]) for i, n in enumerate(sorted(names))}
    return {"accuracy": scores, "assumed": {**scores}, "assumed_seconds": 7, **named}


@pytest.mark.parametrize(("higher", "sign"), [("spl", "holds"), ("spl_merged", "does not hold"), ("", "not clear")])
def test_a_claim_holds_where_its_interval_says_so(higher: str, sign: str) -> None:
    found = measured(**{higher: 0.6})
    (row,) = [line for line in labelling.tables(found)["papers"].splitlines() if "| SPL |" in line]
    assert row.split(" | ")[6] == sign
    assert row.endswith(f" | {sign} |")
    if higher:  # where the assumptions hold, it may be otherwise
        found["assumed"]["spl"], found["assumed"]["spl_merged"] = (
            found["accuracy"]["spl_merged"],
            found["accuracy"]["spl"],
        )
        (row,) = [line for line in labelling.tables(found)["papers"].splitlines() if "| SPL |" in line]
        assert row.split(" | ")[6] == sign
        assert row.endswith(" | does not hold |" if sign == "holds" else " | holds |")


def test_the_headroom_table_compares_with_the_best_constant_recipe_and_the_best_rule() -> None:
    found = measured(queaco=0.6, hssda=0.9, bought_source=0.7, informed_source=0.8)
    rows = {line.split(" | ")[0][2:]: line for line in labelling.tables(found)["headroom"].splitlines()}
    assert "best constant" in rows["queaco"]
    assert rows["bought_source"].endswith("] queaco |")
    assert "+0.1" in rows["bought_source"]
    assert rows["informed_source"].endswith("] bought_source |")


def test_the_page_has_the_tables_of_the_measurement() -> None:
    page = (distillation.FOLDER / "label.md").read_text()
    found = json.loads((distillation.FOLDER / "label.json").read_text())
    assert distillation.written(found) == (distillation.FOLDER / "label.json").read_text()
    assert with_tables(page, labelling.tables(found)) == page
