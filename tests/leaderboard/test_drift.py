"""Level 1 on another kind of machine: honest records pass, and whatever a forger may change fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdgym.leaderboard.submit
import kdgym.registration
from kdgym.leaderboard.drift import SCORES, WIDEST, Drift, differences, measured, reach, too_far, write_drift
from kdgym.leaderboard.record import Outcome, Record
from kdgym.leaderboard.submit import make_record
from kdgym.leaderboard.verify import replay

ID = "kdgym/DataGen-Math-v0"
STUDENTS = 32


@pytest.fixture(scope="module", autouse=True)
def boards_of_32(small_boards: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        entries = tuple(replace(entry, episodes=STUDENTS) for entry in kdgym.registration.ENVIRONMENTS)
        patch.setattr(kdgym.registration, "ENVIRONMENTS", entries)
        yield


def from_elsewhere(record: Record, **outcome: Any) -> Record:
    """The record, as if it was from another kind of machine, with another outcome."""
    where = record.conditions.model_copy(update={"processor": "an abacus"})
    claimed = record.outcome.model_copy(update=outcome)
    return record.model_copy(update={"conditions": where, "outcome": claimed})


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record(ID, "adaptive_source", "mine", ["Ada"])


# --- honest ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_equal_bits_are_equal_bits_anywhere(record: Record) -> None:
    assert replay(from_elsewhere(record), 2).text == f"{STUDENTS} students replayed bit for bit"


@pytest.mark.thorough
@pytest.mark.parametrize("agent", ["adaptive_source", "stat"])
def test_students_of_another_engine_pass(agent: str) -> None:
    """Torch operations round otherwise than the kernel does, so this drift is real."""
    opened = kdgym.leaderboard.submit.open_board
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            kdgym.leaderboard.submit,
            "open_board",
            lambda env_id, n, given: opened(env_id, n, {**given, "engine": "torch"}),
        )
        drifted = make_record(ID, agent, agent, ["kdgym"], kind="rule")
    assert not replay(drifted).passed  # as it says that it is from here
    found = replay(from_elsewhere(drifted))
    assert found.passed, found.text
    assert "no more than that of honest replays" in found.text
    assert "not an abacus" in found.text
    assert not replay(from_elsewhere(drifted), exact=True).passed


@pytest.mark.slow
def test_a_board_whose_drift_was_not_measured_is_undecided(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdgym.leaderboard.verify.measured", dict)
    assert replay(from_elsewhere(record)).passed  # bit for bit
    found = replay(from_elsewhere(record, after=[score + 1e-6 for score in record.outcome.after]))
    assert found.passed is None
    assert "drift between kinds of machine was not measured" in found.text


# --- forged ----------------------------------------------------------------------------------------------------------


def up(by: float) -> Callable[[Any], Any]:
    return lambda values: (np.array(values) + by).tolist()


def costs(change: Callable[[np.ndarray], np.ndarray], *actors: str) -> Callable[[Record], dict[str, Any]]:
    return lambda record: {
        "cost": {
            actor: {
                unit: change(np.array(amounts)).tolist() if not actors or actor in actors else amounts
                for unit, amounts in units.items()
            }
            for actor, units in record.outcome.cost.items()
        }
    }


def fitting(record: Record, right: np.ndarray) -> dict[str, Any]:
    """Right answers, and the scores that follow from them."""
    asked, old = np.array(record.outcome.asked), np.array(record.outcome.right)
    envs = kdgym.leaderboard.submit.open_board(ID, STUDENTS, {})
    envs.reset(seed=record.outcome.seeds)
    target = envs.examine("test")["target"].astype(np.float64)
    assert np.allclose((target * old / asked).sum(1), record.outcome.after, rtol=0, atol=1e-12)
    return {"right": right.tolist(), "after": (target * right / asked).sum(1).tolist()}


def one_more(record: Record, students: slice = slice(None)) -> dict[str, Any]:
    right, asked = np.array(record.outcome.right), np.array(record.outcome.asked)
    right[students] = np.minimum(right[students] + np.maximum(asked[students] // 20, 1), asked[students])
    return fitting(record, right)


FORGED: dict[str, Callable[[Record], dict[str, Any]]] = {
    "every score": lambda r: {"before": up(0.09)(r.outcome.before), "after": up(0.09)(r.outcome.after)},
    "a little": lambda r: {"after": up(0.03)(r.outcome.after)},
    "less than a little, against the answers": lambda r: {"after": up(1e-4)(r.outcome.after)},
    "answers and scores": one_more,
    "a third of the students": lambda r: one_more(r, slice(None, None, 3)),
    "all answers right": lambda r: fitting(r, np.array(r.outcome.asked)),
    "counts alone": lambda r: {"right": r.outcome.asked},
    "more questions": lambda r: {"asked": (np.array(r.outcome.asked) + 1).tolist()},
    "scores before": lambda r: {"before": [0.0] * STUDENTS},
    "curves of ones": lambda r: {"curve": np.ones_like(r.outcome.curve).tolist()},
    "curves": lambda r: {"curve": up(0.03)(r.outcome.curve)},
    "the curve's first point": lambda r: {"curve": [[c[0] + 0.05, *c[1:]] for c in r.outcome.curve]},
    "the curve's end": lambda r: {"curve": [[*c[:-1], c[-1] + 0.05] for c in r.outcome.curve]},
    "shorter curves": lambda r: {"curve": [c[:-1] for c in r.outcome.curve]},
    "one shorter curve": lambda r: {"curve": [r.outcome.curve[0][:-1], *r.outcome.curve[1:]]},
    "noise": lambda r: {"after": (np.array(r.outcome.after) + np.tile([0.3, -0.3], STUDENTS // 2)).tolist()},
    "students in another order": lambda r: {
        name: list(reversed(getattr(r.outcome, name))) for name in ("before", "after", "right", "asked", "curve")
    },
    "no costs": costs(lambda amounts: 0 * amounts),
    "smaller costs": costs(lambda amounts: amounts * (1 - 1e-6)),
    "costs of one actor": costs(lambda amounts: amounts + 1, "teacher"),
    "costs of other students": costs(lambda amounts: np.append(amounts[0] + amounts[-1], amounts[1:]) - 0.5),
    "no actors": lambda r: {"cost": {}},
    "other actors": lambda r: {"cost": {"nobody": r.outcome.cost["teacher"]}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGED)
def test_forged_outcomes_from_elsewhere_fail(record: Record, name: str) -> None:
    found = replay(from_elsewhere(record, **FORGED[name](record)))
    assert found.passed is False, found.text


@pytest.mark.slow
@pytest.mark.parametrize("field", ["processor", "torch", "numpy"])
def test_no_word_about_the_machine_makes_room_for_a_gain(record: Record, field: str) -> None:
    where = record.conditions.model_copy(update={field: "\x1b[2J" + "9" * 1000})
    gained = record.outcome.model_copy(update={"after": up(0.03)(record.outcome.after)})
    found = replay(record.model_copy(update={"conditions": where, "outcome": gained}))
    assert found.passed is False
    assert found.text.isprintable() and len(found.text) < 800


@pytest.mark.slow
def test_a_longer_or_shorter_trace_fails(record: Record) -> None:
    import base64
    import zlib

    assert record.trace is not None
    content = zlib.decompress(base64.b64decode(record.trace.data))
    step = len(content) // record.trace.steps
    for steps, data in ((record.trace.steps + 1, content + content[:step]), (record.trace.steps - 1, content[:-step])):
        packed = base64.b64encode(zlib.compress(data, 9)).decode()
        trace = record.trace.model_copy(update={"steps": steps, "data": packed})
        assert replay(from_elsewhere(record).model_copy(update={"trace": trace})).passed is False


# --- every board that was measured -----------------------------------------------------------------------------------


def an_outcome(env_id: str, students: int = 64) -> Outcome:
    """Of a board: plausible, with all costs that differ there and one that does not."""
    rng = np.random.default_rng(0)
    asked = np.full((students, 4), 50)
    curve = rng.uniform(0.2, 0.6, (students, 9))
    actors = {name.partition(" of ")[2] for name in measured()[env_id] if name not in SCORES} | {"tools"}
    units = ("items", "tokens", "flops", "money")
    cost = {actor: {unit: rng.uniform(50, 60, students).tolist() for unit in units} for actor in sorted(actors - {""})}
    return Outcome.model_construct(
        None,
        seeds=list(range(students)),
        before=rng.uniform(0, 0.3, students).tolist(),
        after=rng.uniform(0.2, 0.6, students).tolist(),
        right=rng.integers(10, 40, asked.shape).tolist(),
        asked=asked.tolist(),
        curve=curve.tolist(),
        cost=cost,
    )


BOARDS = sorted(measured())
DECIDED = [env_id for env_id in BOARDS if reach(env_id, 64) <= WIDEST]


@pytest.mark.parametrize("env_id", BOARDS)
def test_drift_as_it_was_measured_passes(env_id: str) -> None:
    """Also of a few students, such as a person's."""
    rng = np.random.default_rng(1)
    for students in (2, 8, 64):
        claimed = an_outcome(env_id, students)
        parts = differences(claimed, claimed)
        assert too_far(env_id, parts) == []
        drifted = {}
        for name, part in parts.items():
            drift = measured()[env_id].get(name, Drift(0, 0))
            far = rng.normal(0, 1, part.shape)
            drifted[name] = far * min(
                drift.absolute / (np.abs(far).mean() + 1e-12), drift.spread * np.sqrt(part.shape[1])
            )
        assert too_far(env_id, drifted) == []


@pytest.mark.parametrize("env_id", DECIDED)
@given(data=st.data())
def test_gains_beyond_the_drift_fail_on_every_board(env_id: str, data: st.DataObject) -> None:
    claimed = an_outcome(env_id)
    column = data.draw(st.sampled_from(["before", "after", "curve"]))
    sign, by = data.draw(st.sampled_from([-1, 1])), data.draw(st.floats(0.06, 0.4))
    share = data.draw(st.sampled_from([1, 2]))  # all students, or every second one by twice as much
    values = np.array(getattr(claimed, column))
    values[::share] += sign * by * share
    forged = claimed.model_copy(update={column: values.tolist()})
    assert too_far(env_id, differences(forged, claimed)) != []


@pytest.mark.parametrize("env_id", BOARDS)
@given(data=st.data())
def test_other_costs_fail_on_every_board(env_id: str, data: st.DataObject) -> None:
    claimed = an_outcome(env_id)
    actor = data.draw(st.sampled_from(sorted(claimed.cost)))
    unit = data.draw(st.sampled_from(sorted(claimed.cost[actor])))
    exact = f"{unit} of {actor}" not in measured()[env_id]
    factor = data.draw(
        st.floats(0, 1 - 1e-6) | st.floats(1 + 1e-6, 10) if exact else st.floats(0, 0.85) | st.floats(1.2, 10)
    )
    amounts = [factor * amount for amount in claimed.cost[actor][unit]]
    forged = claimed.model_copy(update={"cost": {**claimed.cost, actor: {**claimed.cost[actor], unit: amounts}}})
    (problem, *_) = too_far(env_id, differences(forged, claimed))
    assert problem.startswith(f"{unit} of {actor}")


@pytest.mark.parametrize("env_id", BOARDS)
def test_numbers_that_are_none_are_too_far(env_id: str) -> None:
    claimed = an_outcome(env_id)
    forged = claimed.model_copy(update={"after": [float("nan"), *claimed.after[1:]]})
    assert too_far(env_id, differences(forged, claimed)) != []


def test_the_mean_of_64_students_is_close_on_most_boards() -> None:
    """Not where students' own words become training items or cost money, and not where they control something."""
    wide = {env_id.partition("/")[2].partition("-")[0] for env_id in measured() if reach(env_id, 64) > 0.015}
    assert wide <= {"Feedback", "Tutoring", "Orchestrate", "Snapshot"}


@pytest.mark.slow
def test_a_board_whose_replays_differ_widely_is_undecided_unless_bits_are_equal(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**measured()[ID], "after": Drift(0.3, 0.2)}
    monkeypatch.setattr("kdgym.leaderboard.drift.measured", lambda: {ID: table})
    assert replay(from_elsewhere(record)).passed
    curve = [[c[0], c[1] + 0.001, *c[2:]] for c in record.outcome.curve]
    found = replay(from_elsewhere(record, curve=curve))
    assert found.passed is None
    assert "decide nothing unless bits are equal" in found.text
    assert replay(from_elsewhere(record, **FORGED["no costs"](record))).passed is False


def test_another_kind_of_machine_only_widens_the_table(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    file = tmp_path / "drift.json"
    file.write_text("{}\n")
    monkeypatch.setattr("kdgym.leaderboard.drift.FILE", file)
    gains = [np.array([0.1, 0.3]), np.array([0.2, 0.2])]
    for machine, by in (("one", 0.02), ("other", 0.01)):
        replay = {"after": np.full((2, 1), by), "asked": np.zeros((2, 3))}
        decided = {"decisions": np.array([[0.1]])} if machine == "one" else {}
        write_drift(ID, machine, [replay, replay | decided], gains)
    assert json.loads(file.read_text()) == {
        ID: {
            "machines": ["one", "other"],
            "replays": 4,
            "gain spread": 0.141,
            "drift": {
                "after": {"spread": 0.02, "absolute": 0.02},
                "decisions": {"spread": 0.1, "absolute": 0.1},
            },
        }
    }
