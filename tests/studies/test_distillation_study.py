"""The tables of docs/distill.md are those of docs/distill.json, and say of a claim what its interval says."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdgym.envs.distill.distill import DIALS, TEACHERS
from kdgym.evaluation import agent_class
from kdgym.evaluation.report import with_tables
from kdgym.registration import find
from kdgym.spaces import Dials
from kdgym.studies import distillation


def measured(**accuracy: float) -> dict[str, Any]:
    """Ten students a teacher: all have the accuracy 0.5 and the error 0.1, but for what is given; no two are alike."""
    entry = find(distillation.ID)
    names = {*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others, "recipe_search"}
    noise = np.random.default_rng(0).normal(size=(len(names), 10)) * 0.01
    scores = {n: list(accuracy.get(n, 0.5) + noise[i]) for i, n in enumerate(sorted(names))}
    return {
        "accuracy": scores,
        "others": {n: scores[n] for n in ("random", "probing_teacher", "informed_teacher")},
        "calibration": {n: list(0.1 + noise[i]) for i, n in enumerate(sorted(names))},
        "assumed": {n: list(0.5 - noise[i]) for i, n in enumerate(sorted(names))},
        "assumed_calibration": {n: list(0.1 - noise[i]) for i, n in enumerate(sorted(names))},
        "assumed_seconds": 7,
        "first_sight": [0, 0, 1, 0],
    }


@pytest.mark.parametrize(
    ("higher", "sign"), [("ofa_kd", "holds"), ("ofa_kd_no_boost", "does not hold"), ("", "not clear")]
)
def test_a_claim_holds_where_its_interval_says_so(higher: str, sign: str) -> None:
    table = distillation.tables(measured(**{higher: 0.6}))["papers"]
    (row,) = [line for line in table.splitlines() if "| OFA-KD |" in line]
    assert row.split(" | ")[6] == f"accuracy: {sign}"
    assert row.endswith("| accuracy: not clear |")  # where the assumptions hold


def test_the_headroom_table_compares_with_the_best_constant_recipe() -> None:
    table = distillation.tables(measured(lelp=0.6, probing_teacher=0.7, informed_teacher=0.8))["headroom"].splitlines()
    assert table[4].startswith("| lelp |")
    assert table[-2].startswith("| probing_teacher |")
    assert table[-2].endswith("lelp |  |")  # of other students the recipe was not measured
    assert table[-1].count("] probing_teacher") == 2


def test_the_share_of_sound_teachers_named_at_first_sight_stands_beside_chance() -> None:
    row = distillation.tables(measured())["first"].splitlines()[-1]
    assert row.startswith("| 4 | 0.250 [")
    assert row.endswith("| 0.200 |")


@pytest.mark.parametrize("name", ["ofa_kd", "plain_kd"])
def test_a_rule_told_whom_to_trust_is_the_same_but_for_trust(name: str) -> None:
    space, good = Dials(DIALS), np.eye(TEACHERS, dtype=np.int64)[[3, 0]]
    agent = distillation.knowing(name, "teacher")(None, space)
    agent.attach(SimpleNamespace(hidden=lambda: {"good": good}))
    told, rule = (
        space.decode(torch.from_numpy(a.act({"time": np.ones((2, 1))})))
        for a in (agent, agent_class(name)(None, space))
    )
    assert (told.pop("teacher").numpy() > 0.95).astype(int).tolist() == good.tolist()
    assert all(torch.equal(value, rule[dial]) for dial, value in told.items())


def test_the_page_has_the_tables_of_the_measurement() -> None:
    page = (distillation.FOLDER / "distill.md").read_text()
    found = json.loads((distillation.FOLDER / "distill.json").read_text())
    assert distillation.written(found) == (distillation.FOLDER / "distill.json").read_text()
    assert with_tables(page, distillation.tables(found)) == page
