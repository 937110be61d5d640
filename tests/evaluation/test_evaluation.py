"""The protocol: the same students for everybody, raw records, agents from anywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import kdgym.registration
from kdgym.catalogue import roles
from kdgym.evaluation import NO_TEACHING, Result, evaluate
from kdgym.evaluation.plots import comparison_picture, styles
from kdgym.evaluation.report import comparison_json, comparison_table, extras, extras_tables, ranked
from kdgym.registration import find

ID = "kdgym/DataGen-Math-v0"
MINE = """
import numpy as np

class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.space = action_space

    def act(self, observation):
        return np.full((len(observation["time"]), *self.space.shape), 0.5, dtype=np.float32)
"""


def run(agent: str, episodes: int = 4, population: int = 64) -> Result:
    return evaluate(ID, agent, episodes, population=population, steps=3, budget=600.0, validation_items=8)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [run("uniform"), run("target_proportional"), run("informed")]


def test_every_teacher_gets_the_same_students(results: list[Result]) -> None:
    for result in results:
        assert result.seeds.tolist() == [1_000_000 + i for i in range(4)]
        assert np.array_equal(result.before, results[0].before)
        assert np.array_equal(result.curve[:, 0], results[0].curve[:, 0])
    assert not np.array_equal(results[0].after, results[1].after)


def test_equal_calls_equal_results_whatever_the_population(results: list[Result]) -> None:
    again = run("target_proportional", population=3)
    assert np.array_equal(again.right, results[1].right)
    assert np.array_equal(again.after, results[1].after)


def test_scores_are_recomputed_from_the_raw_counts(results: list[Result]) -> None:
    content = json.loads(json.dumps(comparison_json(results, results[0])))
    assert [row["agent"] for row in content["agents"]] == [result.agent for result in ranked(results)]
    for row, record in zip(content["agents"], content["records"], strict=True):
        assert row["score"]["mean"] == pytest.approx(np.mean(record["after"]))
        assert len(record["seeds"]) == len(record["right"]) == 4
        accuracy = np.array(record["right"]) / np.array(record["asked"])
        assert (np.array(record["after"]) <= accuracy.max(1) + 1e-9).all()
    assert content["agents"][-1]["minus_next"] is None


def test_equal_budget_for_everybody(results: list[Result]) -> None:
    for result in results:
        money = result.cost["data_engine"]["money"]
        assert (money <= 600.0).all()
        assert (money > 550.0).all()


def test_no_teaching_changes_nothing() -> None:
    result = run(NO_TEACHING)
    assert np.array_equal(result.before, result.after)
    assert result.curve.shape == (4, 1)


def test_upper_bounds_say_so(results: list[Result]) -> None:
    assert [result.upper_bound for result in results] == [False, False, True]


def test_a_file_is_an_agent(tmp_path: Path, results: list[Result]) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert np.array_equal(run(str(tmp_path / "mine.py")).after, results[0].after)


@pytest.mark.parametrize(
    ("agent", "message"),
    [("adaptive_sourc", "adaptive_source"), ("constant:missing.json", "missing.json"), ("x.zip", "x.zip")],
)
def test_unknown_agents_are_answered_with_what_was_meant(agent: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(agent)


def test_a_file_without_an_agent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="class Agent"):
        run(str(tmp_path / "empty.py"))


def test_one_student_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        run("uniform", episodes=1)


def test_tables_hold_every_teacher_in_order_within_80_columns(results: list[Result]) -> None:
    console = Console(width=80, record=True)
    console.print(comparison_table(results, results[0]))
    roles = {result.agent: "control" for result in results}
    lines = console.export_text().splitlines()
    first = [line.split()[0] for line in lines if line.split() and line.split()[0] in roles]
    assert first == [result.agent for result in ranked(results)]
    assert max(map(len, lines)) <= 80


def test_the_picture_is_written(tmp_path: Path, results: list[Result]) -> None:
    path = tmp_path / "new" / "picture.png"
    comparison_picture(ranked(results), results[0], path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_twenty_teachers_look_different_and_keep_their_looks() -> None:
    table = list(roles(find(ID).group))
    files = [f"mine{i}.py" for i in range(20 - len(table))]
    drawn = styles(ID, [*reversed(table), *files])
    assert len({dataclasses.astuple(style) for style in drawn.values()}) == len(drawn) >= 20
    assert {name: style for name, style in drawn.items() if name in ("stat", "ppo")} == {
        name: styles(ID, [name])[name] for name in ("stat", "ppo")
    }
    entry = find(ID)
    grey = {name for name, style in drawn.items() if style.colour.startswith("0.")}
    assert grey == {NO_TEACHING, *entry.controls}
    assert {name for name, style in drawn.items() if style.marker == "*"} == set(entry.upper_bounds)
    assert drawn[entry.published].marker == "D"


def test_what_teachers_weigh_has_a_table_and_a_picture_by_the_names_of_its_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, results: list[Result]
) -> None:
    weighed = dataclasses.replace(find(ID), tradeoff={"fun": "fun had", "sweat": "drops shed"})
    others = tuple(entry for entry in kdgym.registration.ENVIRONMENTS if entry.id != ID)
    monkeypatch.setattr(kdgym.registration, "ENVIRONMENTS", (weighed, *others))
    told = [
        dataclasses.replace(
            result, extras={"fun": np.arange(len(result.seeds)) + i, "sweat": 2 * np.ones(len(result.seeds))}
        )
        for i, result in enumerate(results)
    ]
    assert "fun/sweat" in shown(told)
    intervals = extras(told[0])
    assert intervals["per_sweat"].mean == pytest.approx(intervals["fun"].mean / 2)
    comparison_picture(told, told[0], tmp_path / "weighed.svg")
    assert (tmp_path / "weighed.svg").stat().st_size > 10_000


# --- misconceptions, diagnosis, retention ----------------------------------------------------------------------------

SMALL = {"steps": 3, "budget": 600.0, "validation_items": 8}
DIAGNOSING = (
    MINE
    + """
    def diagnose(self, observation):
        return BELIEF
"""
)


def shown(results: list[Result]) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        for table in extras_tables(results):
            console.print(table)
    return capture.get()


@pytest.fixture(scope="module")
def misled() -> list[Result]:
    return [evaluate(ID, agent, 4, retention=100, misconceptions=2, **SMALL) for agent in (NO_TEACHING, "informed")]


def test_nothing_more_is_measured_than_was_asked_for(results: list[Result]) -> None:
    assert all(not result.extras for result in results)
    assert extras_tables(results) == []


def test_misconceptions_and_retention_are_measured_over_the_same_students(misled: list[Result]) -> None:
    nobody, informed = (result.extras for result in misled)
    assert np.array_equal(nobody["held"], informed["held"])
    assert np.array_equal(nobody["expression_before"], informed["expression_before"])
    assert not nobody["harm"].any() and not nobody["cured"].any()
    assert informed["harm"].mean() > 0
    for result in misled:
        assert result.extras["retained_before"] == pytest.approx(result.after)


def test_measuring_retention_changes_no_score() -> None:
    with_it, without = (evaluate(ID, "uniform", 4, retention=n, **SMALL) for n in (100, 0))
    assert np.array_equal(with_it.right, without.right)
    assert np.array_equal(with_it.curve, without.curve)


def test_tables_and_json_say_the_same(misled: list[Result]) -> None:
    content = json.loads(json.dumps(comparison_json(misled, misled[0]), allow_nan=False))
    text = shown(misled)
    assert all(len(line) <= 80 for line in text.splitlines())
    for row in content["agents"]:
        assert row["agent"] in text
        for name in ("cured", "harm", "retention"):
            cell = f"{row[name]['mean']:.2f} [{row[name]['low']:.2f},{row[name]['high']:.2f}]"
            assert cell in text
        assert "auroc" not in row  # neither of the two diagnoses
    record = next(record for record in content["records"] if record["agent"] == "informed")
    held, cured = (np.array(record["besides"][name]) for name in ("held", "cured"))
    row = next(row for row in content["agents"] if row["agent"] == "informed")
    assert row["cured"]["mean"] == pytest.approx(((held * cured).sum(1) / held.sum(1)).mean())


@pytest.mark.thorough
def test_a_teacher_that_diagnoses_beats_the_base_rate() -> None:
    result = evaluate("kdgym/DataGen-Code-OpenEnded-v0", "diagnose_errors", 32, misconceptions=2, steps=1, budget=64.0)
    (row,) = comparison_json([result], result)["agents"]
    assert row["auroc"]["low"] > 0.6
    assert row["log_score"]["low"] > row["log_score_base_rate"]["high"]
    assert "AUROC" in shown([result])


@pytest.mark.parametrize(
    ("belief", "message"),
    [
        ("np.full((2, 6), 1.5)", "from 0 to 1"),
        ("np.full((2, 6), np.nan)", "from 0 to 1"),
        ("np.full((2, 5), 0.5)", r"\(2, 6\) probabilities are wanted"),
        ("[0.5]", r"\(2, 6\) probabilities are wanted"),
    ],
)
def test_an_impossible_diagnosis_is_refused(tmp_path: Path, belief: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(DIAGNOSING.replace("BELIEF", belief))
    with pytest.raises(ValueError, match=message):
        evaluate(ID, str(tmp_path / "mine.py"), 2, misconceptions=1, **SMALL)


def test_a_diagnosis_is_asked_for_only_of_students_with_misconceptions(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DIAGNOSING.replace("BELIEF", "1 / 0"))
    assert not evaluate(ID, str(tmp_path / "mine.py"), 2, **SMALL).extras
