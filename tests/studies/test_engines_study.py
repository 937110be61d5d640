"""The tables of docs/datagen.md on several engines are those of docs/datagen.json, and the ids have the room they are for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from kdgym.evaluation.report import with_tables
from kdgym.evaluation.statistics import mean_interval
from kdgym.studies import distillation, engines


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((distillation.FOLDER / "datagen.json").read_text())
    return found


def test_the_page_has_the_tables_of_the_measurement(measured: dict[str, Any]) -> None:
    page = (distillation.FOLDER / "datagen.md").read_text()
    assert with_tables(page, engines.tables(measured)) == page


@pytest.mark.parametrize("env_id", engines.IDS)
def test_there_is_room_to_win(measured: dict[str, Any], env_id: str) -> None:
    """Above the best rule, for the best rule above teachers that do not look, and for reading what engines say."""
    of = {name: np.array(scores) for name, scores in measured[env_id].items()}
    rules = {name for name in of if name != "informed_writer"}
    pairs = (
        ({"informed_writer"}, rules, 0.03),
        (rules, set(engines.CONSTANT), 0.03),
        ({engines.READER}, rules - {engines.READER}, 0.05),
    )
    for higher, lower, least in pairs:
        upper, under = (max((of[name] for name in names), key=np.mean) for names in (higher, lower))
        assert len(upper) == engines.EPISODES
        found = mean_interval(upper - under)
        assert found.mean >= least and found.low > 0


def test_the_best_constant_is_taken_from_those_that_do_not_look() -> None:
    noise = np.random.default_rng(0).normal(size=12) * 0.01
    means = dict.fromkeys(engines.CONSTANT, 0.3) | {"llm2llm": 0.4, engines.READER: 0.6, "informed_writer": 0.8}
    means["random_real, one engine"] = 0.35
    scores = {name: list(mean + (i + 1) * noise) for i, (name, mean) in enumerate(means.items())}
    row = engines.tables({engines.IDS[0]: scores})["engines-gain"].splitlines()[-1]
    assert row.startswith("| Math | informed_writer - vet_engines: +0.2")
    assert "vet_engines - random_real, one engine: +0.2" in row
    assert "vet_engines - llm2llm: +0.2" in row
