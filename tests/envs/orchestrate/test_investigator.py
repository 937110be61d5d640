"""Investigators really query, are right more often when told the way, and never let a log decide what is executed."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from kdgym import random
from kdgym.envs.orchestrate import investigation
from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, AttemptResult
from kdgym.envs.orchestrate.investigation import PATHS, STATEMENTS, Investigation, look_up
from kdgym.envs.orchestrate.investigator import IncidentWorld
from kdgym.tasks.incidents import questions_of

pytestmark = pytest.mark.slow

ID = "kdgym/Orchestrate-Incidents-v0"
STUDENTS, TASKS = 32, 6


def make(num_envs: int = STUDENTS, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, autoreset=False, **{"incidents": 3, "tasks": TASKS, **changes})


@pytest.fixture(scope="module")
def envs() -> Any:
    made = make()
    made.reset(seed=0)
    return made


def attempts(envs: Any, advice: str = "", note: str = "", accuracy: float | None = None) -> list[AttemptResult]:
    """What everybody does at every task, told the right way, a wrong way, or nothing."""
    world: IncidentWorld = envs.world
    rows, works = torch.arange(STUDENTS), []
    for task in range(TASKS):
        number = torch.full((STUDENTS,), task)
        _, cases = world._cases(envs.state, rows, number)
        right = torch.tensor([PATHS.index(case.solution) for case in cases])
        said = {"": torch.full((STUDENTS,), NO_ADVICE), "right": right, "wrong": (right + 7) % len(PATHS)}
        sees = None if accuracy is None else torch.full((STUDENTS,), accuracy, dtype=torch.float64)
        key = random.fold(envs.state["seed"], task)
        works.append(world.attempt(envs.state, rows, number, said[note], said[advice], key, sees))
    return works


def success(works: list[AttemptResult]) -> float:
    return float(np.mean([(work.score == 1).double().mean() for work in works]))


def test_guidance_helps_where_it_is_right(envs: Any) -> None:
    alone, told, misled = success(attempts(envs)), success(attempts(envs, "right")), success(attempts(envs, "wrong"))
    assert 0.2 < alone < 0.6
    assert told > alone + 0.15
    assert misled < told - 0.15
    assert success(attempts(envs, note="right")) > alone + 0.15


def test_a_teacher_beside_helps_if_it_sees(envs: Any) -> None:
    alone, works = success(attempts(envs)), attempts(envs, accuracy=1.0)
    assert success(works) > alone + 0.2
    assert all((work.checks >= work.corrections).all() for work in works)
    assert success(attempts(envs, accuracy=0.0)) < alone


def test_partial_credit_is_no_success(envs: Any) -> None:
    scores = torch.cat([work.score for work in attempts(envs)])
    partial = scores[(scores > 0) & (scores < 1)]
    assert len(partial) > 0
    allowed = {round(sum(0.4**k for k in ks), 6) for ks in ([1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3])}
    assert {round(score, 6) for score in partial.tolist()} <= allowed


def test_everything_that_is_asked_is_counted(envs: Any) -> None:
    for work in attempts(envs):
        queries = [sum("sql" in entry for entry in log) for log in work.log]
        assert work.calls.tolist() == queries
        assert (work.read >= work.returned).all()
        for log in work.log:
            assert all(entry["sql"] in STATEMENTS for entry in log if "sql" in entry)
            assert sum("answer" in entry for entry in log) == 1


def test_equal_keys_do_equal_work(envs: Any) -> None:
    first, second = attempts(envs), attempts(envs)
    assert all(torch.equal(a.score, b.score) and a.log == b.log for a, b in zip(first, second, strict=True))


def test_what_logs_say_is_never_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that answers with SQL: its rows come back as parameters, and no statement changes."""
    question = questions_of("train", 0)[0]
    case = Investigation("train", 0, question)
    attack = "x'; DROP TABLE logons; --"
    executed: list[tuple[str, tuple[str, ...]]] = []

    def poisoned(split: str, index: int, sql: str, parameters: tuple[str, ...]) -> list[Any]:
        executed.append((sql, parameters))
        return [("2026-01-08 23:06:00", attack, attack, attack)] if "time" in sql else [(attack,)]

    honest = look_up("train", 0, STATEMENTS[case.moves().relation[0]], ("nobody", question.time))
    assert honest == []
    monkeypatch.setattr(investigation, "look_up", poisoned)
    for _ in range(3):
        moves = case.moves()
        case.ask(int(moves.relation[-1]), int(moves.entity[-1]))
    assert len(executed) == 3
    assert {sql for sql, _ in executed} <= set(STATEMENTS)
    assert any(attack in parameters for _, parameters in executed)


def test_pools_share_no_incident() -> None:
    train, evaluation = make(8), make(8, pool="evaluation")
    train.reset(seed=0)
    evaluation.reset(seed=0)
    assert (train.state["case"] >= 1000).all()  # those below are what investigators were pretrained on
    assert (train.world._split, evaluation.world._split) == ("train", "test")


def test_a_student_goes_on_to_another_incident_with_its_notes() -> None:
    envs = make(6, tasks=4)
    envs.reset(seed=0)
    action = envs.moves.encode(6, lane="paired", plan="similar", operation="write")
    for _ in range(4):
        envs.step(action)
    who, notes = envs.state["who"].clone(), envs.state["note_cue"].clone()
    order = envs.state["order"].clone()
    assert (notes >= 0).any()
    envs.reset(options={"memory": "frozen"})
    assert torch.equal(envs.state["who"], who)
    assert torch.equal(envs.state["note_cue"], notes)
    assert not torch.equal(envs.state["order"], order)


def test_there_is_no_gpu_for_databases(meta: None) -> None:
    with pytest.raises(ValueError, match="investigators work on the cpu"):
        make(1, device="meta")
