"""A language model teaches: a real one, one behind faults, and none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.evaluation import Result, evaluate
from tests.compat.llm.conftest import documented
from tests.llm.endpoint import serving

if TYPE_CHECKING:
    from tests.compat.llm.conftest import Proxy

SMALL: dict[str, Any] = {"steps": 1, "budget": 64.0, "validation_items": 8}
LIST, WRITE, TREE = (f"kdgym/DataGen-Math-{level}v0" for level in ("", "OpenEnded-", "SkillTree-"))
LANES = "kdgym/Orchestrate-Math-v0"
CONTROL = {LIST: "uniform", WRITE: "random_real"}
WRITERS = ("llm_arte", "llm_corrections", "llm_engine", "llm_variants", "ssb")
TEACHERS = [*((name, WRITE) for name in WRITERS), ("llm", TREE), ("llm", LANES)]
# Every connection breaks; where that takes long, the budget of wall time ends it.
FAULTS: dict[str, dict[str, float]] = {
    "reset": {}, "429": {}, "truncated": {}, "slow": {"seconds_budget": 2}, "drip": {"seconds_budget": 2},
}  # fmt: skip
Records = list[dict[str, Any]]


def teach(
    agent: str, env_id: str, port: int, transcript: Path, limits: dict[str, float] | None = None, **settings: Any
) -> tuple[Result, Records]:
    """Those that ask many questions get short answers: a server on a CPU writes some 30 tokens a second."""
    options: dict[str, Any] = {
        "base_url": f"http://127.0.0.1:{port}/v1",
        "model": "smollm2",
        "transcript": str(transcript),
        **({} if agent == "llm" else {"max_tokens": 192 if agent == "llm_engine" else 96}),
        **(limits or {}),
    }
    result = evaluate(env_id, agent, episodes=2, options=options, **small(env_id, **settings))
    return result, read(transcript)


def small(env_id: str, **settings: Any) -> dict[str, Any]:
    """One short step, with few errors to ask about."""
    if env_id == LANES:
        return {"tasks": 2}
    return {**SMALL, **({"errors": 4} if env_id == WRITE else {}), **settings}


@pytest.mark.slow
@pytest.mark.parametrize("env_id", list(CONTROL))
def test_an_endpoint_out_of_order_leaves_the_control_and_says_so(env_id: str, tmp_path: Path) -> None:
    with serving() as broken:
        broken.fault = lambda number: 503
        with pytest.warns(RuntimeWarning, match="no usable answer to 2 of 2 questions"):
            result, records = teach("llm", env_id, broken.server_address[1], tmp_path / "transcript.jsonl")
    assert [record["default"] for record in records] == [True] * 2
    assert all("HTTP 503" in record["error"] and record["prompt"] for record in records)
    assert result.remarks == {"questions": 2, "without a usable answer": 2, "failed": 2}
    assert (result.after == control(env_id).after).all()
    assert (result.cost["teacher"]["tokens"] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "env_id"), TEACHERS)
def test_no_teacher_loses_an_episode_to_an_endpoint_out_of_order(agent: str, env_id: str, tmp_path: Path) -> None:
    with serving() as broken:
        broken.fault = lambda number: 503
        with pytest.warns(RuntimeWarning, match="no usable answer"):
            result, records = teach(agent, env_id, broken.server_address[1], tmp_path / "transcript.jsonl")
    assert result.curve.shape[0] == 2
    assert result.failed_questions == 1
    assert result.remarks["without a usable answer"] == len(records) > 0


def test_a_teacher_without_a_model_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="give --base-url"):
        evaluate(LIST, "llm", episodes=2, **SMALL)


def test_the_documented_command_runs(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/llm.md, against the server that its first command started; a shorter episode, and this server's port."""
    monkeypatch.chdir(tmp_path)
    kdgym, *command = documented("kdgym evaluate")
    command[command.index("--base-url") + 1] = f"http://127.0.0.1:{server}/v1"
    shorter = [word for name, value in small(LIST, steps=2).items() for word in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(app, [*command, *shorter, "--episodes", "2", "--json", "records.json"])
    assert (kdgym, done.exit_code) == ("kdgym", 0), done.output
    assert "llm: 4 questions" in done.output
    records = read(tmp_path / command[command.index("--transcript") + 1])
    assert [(record["step"], record["student"]) for record in records] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    by_agent = {one["agent"]: one for one in json.loads((tmp_path / "records.json").read_text())["records"]}
    bill = by_agent["llm"]["cost"]["teacher"]["tokens"]
    assert bill == tokens(records)


@pytest.mark.parametrize(("agent", "env_id"), [("llm", WRITE), *TEACHERS])
def test_a_real_model_teaches(agent: str, env_id: str, server: int, tmp_path: Path) -> None:
    result, records = teach(agent, env_id, server, tmp_path / "transcript.jsonl")
    assert not all(record["default"] for record in records)
    assert result.cost["teacher"]["tokens"].tolist() == tokens(records)
    assert min(tokens(records)) > 0
    if agent == "llm_engine":  # the policy's plans reached the engine
        assert len(records) > 2


@pytest.mark.parametrize("fault", FAULTS)
def test_an_endpoint_that_breaks_costs_defaults_and_no_episode(fault: str, proxy: Proxy, tmp_path: Path) -> None:
    proxy.break_with(fault)
    with pytest.warns(RuntimeWarning, match="no usable answer"):
        result, records = teach("llm", LIST, proxy.port, tmp_path / "transcript.jsonl", FAULTS[fault])
    assert [record["default"] for record in records] == [True] * 2
    assert proxy.connections > 0
    assert (result.after == control(LIST).after).all()


def test_an_endpoint_that_recovers_is_heard_again(proxy: Proxy, tmp_path: Path) -> None:
    """An answer, garbage twice, and answers afterwards."""
    proxy.break_with("garbage", failures=2, first=1)
    with pytest.warns(RuntimeWarning, match="no usable answer"):
        result, records = teach("llm", LIST, proxy.port, tmp_path / "transcript.jsonl", steps=2)
    assert [record["default"] for record in records[1:3]] == [True] * 2
    assert not all(record["default"] for record in records)
    assert result.remarks["without a usable answer"] == sum(record["default"] for record in records)
    assert result.cost["teacher"]["tokens"].sum() > 0


def control(env_id: str) -> Result:
    """What a teacher that decides nothing reaches in one step."""
    return evaluate(env_id, CONTROL[env_id], episodes=2, **small(env_id))


def read(transcript: Path) -> Records:
    return [json.loads(line) for line in transcript.read_text().splitlines()]


def tokens(records: Records) -> list[int]:
    """What the two students' questions took."""
    return [
        sum(r["prompt_tokens"] + r["completion_tokens"] for r in records if r["student"] == student)
        for student in range(2)
    ]
