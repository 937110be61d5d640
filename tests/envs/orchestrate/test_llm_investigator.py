"""Language models investigate by SQL of their own: a real one that has learned nothing, and none at all."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, AttemptResult
from kdgym.envs.orchestrate.llm_investigator import LLMIncidentWorld
from kdgym.llm.chat import Answer, Conversation, UnreachableError
from tests.llm.endpoint import serving
from tests.students.language.tiny_model import write_model

pytestmark = pytest.mark.slow

ID = "kdgym/Orchestrate-Incidents-v0"
DEAD = "nobody@http://127.0.0.1:9/v1"


def make(student: str, students: int = 2, **changes: Any) -> Any:
    chosen = {"incidents": 2, "tasks": 2, "student": student, "worth": 1e5, "budget": 1e7, **changes}
    return gym.make_vec(ID, num_envs=students, autoreset=False, **chosen)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{write_model(tmp_path_factory.mktemp('tiny'))}"


def test_an_untrained_model_goes_through_an_episode(tiny: str) -> None:
    """Whatever it says is JSON by its constraint, so what runs is SQL of its own, which the database refuses."""
    envs = make(tiny)
    envs.reset(seed=0)
    for lane in ("stepwise", "coach"):
        _, reward, terminated, _, info = envs.step(envs.moves.encode(2, lane=lane, plan="own", operation="write"))
        assert np.isfinite(reward).all()
        assert (info["cost/student_inference/tokens"] > 0).all()
        for events in envs.session.events:
            attempts = [event for event in events if event["what"] == "attempt"]
            assert attempts
            assert all("answer" in event or "sql" in event for event in attempts)
            json.dumps(events)
    assert terminated.all()


def test_a_dead_endpoint_stops_at_the_first_question() -> None:
    envs = make(DEAD, tasks=1)
    envs.reset(seed=0)
    with pytest.raises(UnreachableError, match=r"nobody at http://127.0.0.1:9/v1 does not answer"):
        envs.step(envs.moves.encode(2, lane="auto", plan="own", operation="keep"))


def test_an_endpoint_out_of_order_costs_answers_and_no_episode() -> None:
    with serving() as endpoint:
        endpoint.fault = lambda number: 503
        envs = make(f"nobody@{endpoint.url}", tasks=1)
        envs.reset(seed=0)
        _, _, terminated, _, info = envs.step(envs.moves.encode(2, lane="auto", plan="own", operation="keep"))
    assert not info["cost/tools/items"].any()
    for events in envs.session.events:
        assert all("HTTP 503" in event["error"] for event in events if event["what"] == "attempt")
    assert terminated.all()
    assert not envs.outcome()["success"].any()


@pytest.mark.parametrize("student", ["smollm2", "nobody@ftp://127.0.0.1"])
def test_students_that_cannot_be_reached_are_refused(student: str) -> None:
    with pytest.raises(ValueError, match=r"hf:|https://"):
        make(student)


class Scripted:
    """Stands where a model does, to show what the world makes of given replies."""

    def __init__(self, *replies: dict[str, Any]) -> None:
        self.replies, self.heard = list(replies), []  # type: ignore[var-annotated]

    def answer(self, told: list[Conversation], schema: Any = None, max_tokens: int = 0) -> list[Answer]:
        self.heard.append(told[0][-1]["content"])
        reply = self.replies.pop(0)
        return [Answer(json.dumps({"reply": reply}), prompt_tokens=100, completion_tokens=10) for _ in told]


def worked(
    monkeypatch: pytest.MonkeyPatch, *replies: Any, accuracy: float | None = None
) -> tuple[AttemptResult, Any, Scripted]:
    """What one student's attempt at one question comes to, given these replies; a function is given the question."""
    envs = make(DEAD, 1)
    envs.reset(seed=0)
    world: LLMIncidentWorld = envs.world
    rows, number, nothing = torch.tensor([0]), torch.tensor([0]), torch.tensor([NO_ADVICE])
    question = world._cases(envs.state, rows, number)[1][0].question
    script = Scripted(*(reply(question) if callable(reply) else reply for reply in replies))
    monkeypatch.setattr(world, "_chat", script)
    sees = None if accuracy is None else torch.tensor([accuracy], dtype=torch.float64)
    return world.attempt(envs.state, rows, number, nothing, nothing, torch.tensor([1]), sees), question, script


def first_hop(question: Any) -> dict[str, str]:
    hop, name = question.hops[0], question.start.replace("'", "''")
    return {"sql": f"SELECT DISTINCT {hop.target} FROM {hop.table} WHERE {hop.source} = '{name}'"}


def test_right_answers_succeed_and_rows_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    work, question, script = worked(monkeypatch, first_hop, lambda q: {"answer": q.answer.upper()})
    assert work.score.tolist() == [1]
    assert (work.calls.tolist(), work.read.tolist(), work.written.tolist()) == ([1], [200], [20])
    assert question.start in script.heard[0]
    assert "queries are left" in script.heard[1]


def test_entities_nobody_saw_earn_no_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    """To cite the path is worth something only to who came by it."""
    work, *_ = worked(monkeypatch, {"sql": "SELECT 1"}, lambda q: {"answer": "nobody", "found": list(q.path[:-1])})
    assert work.score.tolist() == [0]


def test_harmful_sql_is_refused_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = [{"sql": "DROP TABLE logons"}, {"sql": "PRAGMA user_version = 7"}, {"sql": "ATTACH '/etc/passwd' AS x"}]
    work, _, script = worked(monkeypatch, *attacks, {"answer": "nobody"})
    assert all("error" in entry for entry in work.log[0][:3])
    assert all("Refused" in heard or "error" in heard for heard in script.heard[1:])


def test_a_teacher_beside_takes_wrong_moves_back(monkeypatch: pytest.MonkeyPatch) -> None:
    work, _, script = worked(monkeypatch, {"sql": "SELECT 1"}, first_hop, lambda q: {"answer": q.answer}, accuracy=1.0)
    assert work.score.tolist() == [1]
    assert work.corrections.tolist() == [1]
    assert "look for" in script.heard[1]
    assert work.log[0][0]["corrected"]
