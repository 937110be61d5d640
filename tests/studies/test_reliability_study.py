"""The tables of Feedback and Tutoring say what was measured: each rule minus the best fixed one, each bound minus the rule."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from kdgym.evaluation.report import with_tables
from kdgym.registration import find
from kdgym.spaces import MixedBox
from kdgym.students.policy_gradient import SHAPINGS
from kdgym.studies import distillation, reliability
from kdgym.tasks.feedback import KINDS, WHICH
from tests.studies.command import study

SPACE = MixedBox({"fraction": (), "which": WHICH, "kind": KINDS, "length": (), "shaping": SHAPINGS, "weight": ()})


def measured(name: str, **accuracy: float) -> dict[str, Any]:
    """Ten students a teacher, all of the accuracy 0.5 but for what is given; no two are alike."""
    entry = find(reliability.IDS[name])
    names = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, reliability.STATIC]
    noise = np.random.default_rng(0).normal(size=(len(names), 10)) * 0.01
    scores = {n: list(accuracy.get(n, 0.5) + noise[i]) for i, n in enumerate(names)}
    return {"best": "mark plain fraction 0.25", "accuracy": scores}


def test_rules_are_compared_with_the_best_fixed_one_and_bounds_with_the_best_rule() -> None:
    found = {"feedback": measured("feedback", luffy=0.6, follow_success=0.7, informed_feedback=0.8)}
    rows = {line.split(" | ")[0][2:]: line for line in reliability.tables(found)["feedback"].splitlines()}
    assert "+0.1" in rows["follow_success"] and rows["follow_success"].endswith("] luffy |")
    assert "+0.1" in rows["informed_feedback"] and rows["informed_feedback"].endswith("] follow_success |")
    assert rows["luffy"].endswith("] no_feedback |") and rows["no_feedback"].endswith("|  |")
    assert "fixed: mark plain fraction 0.25" in rows[reliability.STATIC]


@pytest.mark.parametrize("asking", [False, True])
def test_the_search_is_over_different_constant_decisions(asking: bool) -> None:
    rules = reliability.candidates(asking)
    assert len({json.dumps(rule) for rule in rules.values()}) == len(rules) == 12
    assert ({"ask"} <= next(iter(rules.values())).keys()) == asking
    if not asking:
        agent = reliability.constant(rules["next_step ratio fraction 0.5"])(None, SPACE)
        told = SPACE.decisions(agent.act({"time": np.ones((1, 1))}))
        assert told["fraction"] == pytest.approx(0.5) and told["weight"] == pytest.approx(1)
        assert told["kind: next_step"] == told["shaping: ratio"] == 1


def test_an_unknown_name_is_refused() -> None:
    done = study(reliability, "--measure", "datagen")
    assert done.exit_code != 0 and "choose feedback or tutoring" in done.output


def test_the_page_has_the_tables_of_the_measurement() -> None:
    page = (distillation.FOLDER / "feedback.md").read_text()
    found = json.loads((distillation.FOLDER / "feedback.json").read_text())
    assert distillation.written(found) == (distillation.FOLDER / "feedback.json").read_text()
    assert with_tables(page, reliability.tables(found)) == page
