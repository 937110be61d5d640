"""The price of anarchy: planner and teachers meet the same students, and finished trainings are not repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdgym.agents.classroom import bid_planner, bid_ppo
from kdgym.studies import anarchy
from kdgym.studies.anarchy import Row, measure_anarchy
from tests.studies.command import study

ID = "kdgym/Classroom-Math-v0"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bid_ppo.Agent, "students", 2)
    monkeypatch.setattr(bid_planner.Agent, "candidates", 2)


def test_the_price_is_the_planners_gain_over_theirs() -> None:
    planner = Row("planner", None, np.array([0.4, 0.6]), np.zeros(2))
    teachers = Row("teachers", 0.0, np.array([0.2, 0.3]), np.array([0.1, 0.3]))
    found = teachers.measured(planner)
    assert found["price"].mean == pytest.approx(2.0)
    assert found["short"].mean == pytest.approx(-0.25)
    assert found["gini"].mean == pytest.approx(0.2)
    assert planner.measured(planner)["price"].mean == 1.0


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_the_command_trains_compares_draws_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, picture = tmp_path / "teachers", tmp_path / "a.png"
    command = [
        "--out",
        str(out),
        "--mixings",
        "0,1",
        "--steps",
        "72",
        "--runs",
        "1",
        "--episodes",
        "2",
    ]
    done = study(anarchy, *command, "--picture", str(picture))
    assert done.exit_code == 0, done.exception
    assert "bid_ppo, mixing 1 minus bid_ppo, mixing 0, paired" in done.output
    assert picture.stat().st_size > 10_000

    def trained(*_: Any, **__: Any) -> None:
        raise AssertionError("a finished training was repeated")

    monkeypatch.setattr(bid_ppo.Agent, "train", trained)
    again = study(anarchy, *command)
    assert again.exit_code == 0, again.exception
    tables = [done.output.partition("teachers  ")[2].partition("Picture")[0] for done in (done, again)]
    assert tables[0] == tables[1] and "bid_ppo, mixing 1" in tables[0]


@pytest.mark.parametrize(
    ("env_id", "mixings", "message"),
    [("kdgym/DataGen-Math-v0", [0.0], "has one teacher"), (ID, [2.0], "from 0 .own gain. to 1")],
)
def test_bad_requests_are_refused(env_id: str, mixings: list[float], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        measure_anarchy(env_id, mixings, tmp_path, steps=1, runs=1, episodes=2)
