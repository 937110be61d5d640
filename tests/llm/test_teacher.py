"""A language model teaches: a real one, one behind faults, and none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kdgym.evaluation import Result, evaluate

if TYPE_CHECKING:
    from tests.llm.conftest import Proxy

SMALL: dict[str, Any] = {"steps": 2, "budget": 64.0, "validation_items": 8}
LIST, WRITE, TREE = (f"kdgym/DataGen-Math-{level}v0" for level in ("", "OpenEnded-", "SkillTree-"))
LANES = "kdgym/Orchestrate-Math-v0"
CONTROL = {LIST: "uniform", WRITE: "random_real"}
TEACHERS = [("llm", LIST), ("llm", WRITE), ("llm_variants", WRITE), ("llm_corrections", WRITE), ("llm_policy", TREE)]
TEACHERS += [("llm_lanes", LANES), ("ssb", WRITE)]
Records = list[dict[str, Any]]


def teach(agent: str, env_id: str, port: int, transcript: Path, **settings: Any) -> tuple[Result, Records]:
    """Those that ask many questions get short answers and one step: a server on a CPU writes some 30 tokens a second."""
    options: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{port}/v1",
        "model": "smollm2",
        "transcript": str(transcript),
    }
    if agent != "llm":
        options["max_tokens"], settings = 96, {"steps": 1, **settings}
    chosen = {**SMALL, **settings} if env_id != LANES else {"tasks": 2}
    result = evaluate(env_id, agent, episodes=2, options=options, **chosen)
    return result, [json.loads(line) for line in transcript.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("env_id", list(CONTROL))
def test_without_an_endpoint_it_teaches_as_the_control_and_says_so(env_id: str, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="no usable answer to 4 of 4 questions"):
        result, records = teach("llm", env_id, 9, tmp_path / "transcript.jsonl")
    assert [record["default"] for record in records] == [True] * 4
    assert all("Connection" in record["error"] and record["prompt"] for record in records)
    assert result.remarks == {"questions": 4, "without a usable answer": 4}
    assert (result.after == evaluate(env_id, CONTROL[env_id], episodes=2, **SMALL).after).all()
    assert (result.cost["teacher"]["tokens"] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "env_id"), TEACHERS[2:])
def test_no_teacher_loses_an_episode_without_an_endpoint(agent: str, env_id: str, tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="no usable answer"):
        result, records = teach(agent, env_id, 9, tmp_path / "transcript.jsonl", steps=1)
    assert result.curve.shape[0] == 2
    assert result.remarks["without a usable answer"] == len(records) > 0


def test_a_teacher_without_a_model_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="give --base-url"):
        evaluate(LIST, "llm", episodes=2, **SMALL)


@pytest.mark.llm
@pytest.mark.parametrize(("agent", "env_id"), TEACHERS)
def test_a_real_model_teaches(agent: str, env_id: str, server: int, tmp_path: Path) -> None:
    result, records = teach(agent, env_id, server, tmp_path / "transcript.jsonl")
    tokens = [
        sum(r["prompt_tokens"] + r["completion_tokens"] for r in records if r["student"] == student)
        for student in range(2)
    ]
    assert not all(record["default"] for record in records)
    assert result.cost["teacher"]["tokens"].tolist() == tokens
    assert min(tokens) > 0


@pytest.mark.llm
@pytest.mark.parametrize("env_id", list(CONTROL))
def test_an_endpoint_that_breaks_on_the_way_costs_a_default_and_no_episode(
    env_id: str, proxy: Proxy, tmp_path: Path
) -> None:
    """Garbage for the first two students, answers afterwards."""
    proxy.break_with("garbage", failures=2)
    with pytest.warns(RuntimeWarning, match="no usable answer"):
        result, records = teach("llm", env_id, proxy.port, tmp_path / "transcript.jsonl")
    assert [record["default"] for record in records[:2]] == [True] * 2
    assert not all(record["default"] for record in records)
    assert result.remarks["without a usable answer"] == sum(record["default"] for record in records)
    assert result.cost["teacher"]["tokens"].sum() > 0
