"""The tables of docs/learned.md are those of docs/learned.json, and compare with the best rule and the best constant recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kdgym.evaluation.report import with_tables
from kdgym.studies import distillation, learned

ID = "kdgym/Select-Images-v0"


def measured(**better: float) -> dict[str, Any]:
    """Ten students a teacher, all of the score 0.5 but for what is given; no two are alike."""
    rules, constant = learned.RIVALS[ID]
    names = [name.partition(":")[0] for name in (*rules, *constant)] + [
        "informed_scorer",
        *(f"{learned.LEARNED}{seed}" for seed in learned.SEEDS),
    ]
    noise = np.random.default_rng(0).normal(size=(len(names), 10)) * 0.01
    scores = {name: list(better.get(name.replace(", seed ", ""), 0.5) + noise[i]) for i, name in enumerate(names)}
    curves = [[{"steps": 8, "loss": 1.0, "return": 0.25}]] * 3
    return {ID: {"scores": scores, "steps": [8, 8, 8], "curves": curves, "first": [0.25, 0.5, 0.5, 1.0]}}


def test_the_best_rule_and_the_best_constant_recipe_are_those_of_the_scores() -> None:
    found = measured(trying_scorer=0.6, peer_scorer=0.55, learned0=0.7, learned1=0.7, learned2=0.4)
    rows = {line.split(" | ")[1]: line for line in learned.tables(found)["results"].splitlines()[2:]}
    assert "best rule" in rows["trying_scorer"]
    assert "best constant" in rows["peer_scorer"]
    assert "probing_scorer" not in rows
    mean = [cell.strip(" |") for cell in rows["learned, mean"].split(" | ")]
    assert abs(float(mean[3]) - 0.6) < 0.01
    assert mean[4].startswith(("+0.0", "-0.0"))
    assert "[-0.2" in rows["learned, seed 2"]


def test_curves_are_those_of_the_trainings() -> None:
    assert learned.tables(measured())["curves"].count("8: 0.250") == 3


def test_first_actions_stand_beside_chance_where_an_item_is_good() -> None:
    found = measured()
    assert learned.tables(found)["first"].splitlines()[2:] == [f"| {ID} | 0.25 | 0.50 | 0.50 | 1.00 |"]
    found[ID]["first"] = []
    assert learned.tables(found)["first"].splitlines()[2:] == []


@pytest.mark.slow
def test_a_first_action_counts_if_it_trusts_a_good_item_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "STUDENTS", 4)
    envs: Any = gym.make_vec("kdgym/Label-Weak-v0", num_envs=4, pool="evaluation")
    envs.reset(seed=list(range(learned.FIRST, learned.FIRST + 4)))
    good = envs.hidden()["good"]

    class Trusts:
        def __init__(self, source: Any) -> None:
            self.action = envs.single_action_space.encode(source=source)

        def reset(self, observation: Any) -> None: ...

        def act(self, observation: Any) -> Any:
            return self.action

    teachers = {"knows.zip": Trusts(good), "errs.zip": Trusts(1 - good)}
    monkeypatch.setattr(learned.SB3Agent, "from_zip", lambda path, *_: teachers[path.name])
    found = learned.first_actions("kdgym/Label-Weak-v0", [Path(name) for name in teachers])
    assert found == [good.mean(), 1.0, 0.0]
    assert learned.first_actions("kdgym/DataGen-Math-v0", []) == []


def test_the_page_has_the_tables_of_the_measurement() -> None:
    page = (distillation.FOLDER / "learned.md").read_text()
    found = json.loads((distillation.FOLDER / "learned.json").read_text())
    assert distillation.written(found) == (distillation.FOLDER / "learned.json").read_text()
    assert with_tables(page, learned.tables(found)) == page
