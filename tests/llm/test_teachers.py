"""Teachers that ask a language model: what they ask, and what comes of a model that answers seldom or never."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym
from kdgym.cli import main
from kdgym.evaluation import MOST_FAILED, introduce, load_agent
from kdgym.leaderboard import submit
from kdgym.llm.chat import UnreachableError
from kdgym.registration import ENVIRONMENTS, find
from kdgym.teaching.language_model import LanguageTeacher
from tests.llm.endpoint import KEY, MODEL, FakeEndpoint

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 600.0, "validation_items": 8}
ASKING = {name: entry.id for entry in reversed(ENVIRONMENTS) for name in entry.asking if not entry.needs_model}


def options(endpoint: FakeEndpoint, **more: Any) -> dict[str, Any]:
    return {"base_url": endpoint.url, "model": MODEL, **more}


def asking(url: str, model: str = MODEL) -> list[str]:
    return ["--episodes", "2", "--base-url", url, "--model", model]


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that ends with an error: one sentence or two in one line, and no table."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert "minus" not in said.out
    *progress, error = said.err.splitlines()
    assert error.startswith("Error: The language model ")
    assert not [line for line in progress if " so far" not in line]
    assert KEY not in said.out + said.err
    return error


# --- a model that never answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "agent",
    sorted(set(ASKING) - {"llm_feedback"}),
)
def test_no_command_ends_well_without_a_model(
    agent: str, endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    endpoint.fault = lambda number: 401
    chosen = [
        word for name, value in find(ASKING[agent]).small.items() for word in ("--set", f"{name}={json.dumps(value)}")
    ]
    transcript = ["--transcript", str(tmp_path / "transcript.jsonl"), "--json", str(tmp_path / "found.json")]
    said = stopped(capsys, "evaluate", ASKING[agent], "--agent", agent, *asking(endpoint.url), *chosen, *transcript)
    assert "HTTP 401" in said and "OPENAI_API_KEY" in said
    assert len(endpoint.asked) == 1
    assert not (tmp_path / "found.json").exists()


def test_a_dead_port_a_wrong_path_and_a_wrong_model_stop_the_run(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        assert "no connection" in stopped(capsys, "evaluate", ID, "--agent", "llm", *asking(dead))
    for url, model in ((endpoint.url.removesuffix("/v1"), MODEL), (endpoint.url, "another")):
        assert "HTTP 404" in stopped(capsys, "evaluate", ID, "--agent", "llm", *asking(url, model))
    signed = ["--env", ID, "--name", "x", "--authors", "y", "--kind", "llm"]
    assert "HTTP 404" in stopped(capsys, "submit", "llm", *signed, *asking(endpoint.url, "another")[2:])


def test_an_unknown_model_in_process_stops_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "config.json").write_text("{}")
    said = stopped(capsys, "evaluate", ID, "--agent", "llm", *asking("transformers", str(tmp_path)))
    assert f"{str(tmp_path)!r} cannot be loaded" in said


def test_nobody_waits_for_other_teachers_before_a_model_fails(endpoint: FakeEndpoint) -> None:
    endpoint.fault = lambda number: 403
    told: list[str] = []
    with pytest.raises(UnreachableError, match="HTTP 403"):
        kdgym.compare(
            ID, ["uniform", "llm"], 2, progress=lambda agent, *_: told.append(agent), options=options(endpoint), **SMALL
        )
    assert set(told) == {"llm"}


# --- a model that answers some of the questions ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("failing", "marked"), [(0, False), (1, False), (2, True)])
def test_failed_questions_are_marked_and_no_leaderboard_takes_many(
    failing: int, marked: bool, endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of 24 questions 1 is 4 % and 2 are 8 %; each failing one is a 400, which is not tried again."""
    endpoint.fault = lambda number: 400 if 0 < number <= failing else None
    found = kdgym.compare(ID, ["llm"], 8, options=options(endpoint, transcript=str(tmp_path / "t.jsonl")), **SMALL)
    share = failing / 24
    assert found["llm"].failed_questions == pytest.approx(share)
    content = found.to_json()
    (row,) = [row for row in content["agents"] if row["agent"] == "llm"]
    assert row["failed_questions"] == found["llm"].to_json()["failed_questions"] == pytest.approx(share)
    assert (f"failed questions {100 * share:.0f} %" in " ".join(str(found).split())) == marked == (share > MOST_FAILED)
    assert KEY not in json.dumps(content) + (tmp_path / "t.jsonl").read_text()

    endpoint.asked.clear()
    monkeypatch.setattr(submit, "board_seeds", lambda env_id: list(range(8)))
    monkeypatch.setattr(submit, "open_board", lambda env_id, students, settings: gym.make_vec(
        env_id, num_envs=students, pool="evaluation", autoreset=False, **settings, **SMALL
    ))  # fmt: skip

    def record() -> Any:
        return submit.make_record(ID, "llm", "x", ["y"], kind="llm", model=MODEL, options=options(endpoint))

    if marked:
        with pytest.raises(ValueError, match=r"did not answer 8 % of the questions; a leaderboard takes at most 5 %"):
            record()
    else:
        assert record().outcome.after


def test_an_unusable_answer_is_the_models_own_and_has_not_failed(endpoint: FakeEndpoint) -> None:
    endpoint.reply = lambda asked: {"add": "everything"}
    with pytest.warns(RuntimeWarning, match="no usable answer to 6 of 6 questions"):
        found = kdgym.evaluate(ID, "llm", 2, options=options(endpoint), **SMALL)
    assert found.remarks == {"questions": 6, "without a usable answer": 6}
    assert found.failed_questions == 0
    assert np.array_equal(found.after, kdgym.evaluate(ID, "uniform", 2, **SMALL).after)


def test_remarks_of_an_object_are_of_this_run(endpoint: FakeEndpoint) -> None:
    envs: Any = gym.make_vec(ID, num_envs=1, **SMALL)
    agent = load_agent("llm", envs, options=options(endpoint))
    endpoint.reply = lambda asked: {}
    found = [kdgym.evaluate(ID, agent, 4, population=2, **SMALL) for _ in range(2)]
    assert [each.remarks for each in found] == [{"questions": 12}] * 2


# --- what it sees and does -------------------------------------------------------------------------------------------


@pytest.fixture
def lesson(endpoint: FakeEndpoint) -> tuple[Any, Any, Any, FakeEndpoint]:
    envs: Any = gym.make_vec(ID, num_envs=2, autoreset=False)
    observation, _ = envs.reset(seed=3)
    agent: Any = load_agent("llm", envs, options=options(endpoint))
    introduce(agent, envs, observation)
    return envs, observation, agent, endpoint


def test_a_lesson_is_a_conversation_about_one_student(lesson: tuple[Any, Any, Any, FakeEndpoint]) -> None:
    envs, observation, agent, endpoint = lesson
    endpoint.reply = lambda asked: {"gcd": [0, 0, 0, 2], "add": 1}
    for _ in range(2):
        observation, reward, terminated, truncated, _ = envs.step(agent.act(observation))
        agent.after_step(reward, terminated | truncated)
    agent.act(observation)
    said = [asked["messages"] for asked in endpoint.asked if len(asked["messages"]) == 6]
    assert [message["role"] for message in said[0]] == ["system", *["user", "assistant"] * 2, "user"]
    assert "gcd: The greatest common divisor." in said[0][0]["content"]
    assert {messages[5]["content"].partition("\n")[0] for messages in said} == {
        f"Your last decision earned {one:+.3f}." for one in reward
    }
    assert json.loads(said[0][2]["content"]) == {"add": 0.5, "gcd": [0, 0, 0, 1]}  # as it was read
    schema = endpoint.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["gcd"]["anyOf"][1]["maxItems"] == 4


def test_it_is_told_why_its_decision_was_not_taken(lesson: tuple[Any, Any, Any, FakeEndpoint]) -> None:
    _, observation, agent, endpoint = lesson
    endpoint.reply = lambda asked: {"gcd": -1}
    with pytest.warns(RuntimeWarning, match="no usable answer"):
        actions = agent.act(observation)
    assert not np.any(actions)  # neutral
    endpoint.reply = lambda asked: {}
    agent.act(observation)
    assert "gcd is -1; give 0 or more." in endpoint.asked[-1]["messages"][-1]["content"]
    agent.act(observation)
    assert "not taken" not in endpoint.asked[-1]["messages"][-1]["content"]


def test_the_money_goes_to_the_sources_it_names(lesson: tuple[Any, Any, Any, FakeEndpoint]) -> None:
    envs, observation, agent, endpoint = lesson
    endpoint.reply = lambda asked: {"gcd": [0, 0, 0, 60], "add": [30, 0, 0, 0]}
    names = [skill["name"] for skill in envs.metadata["skills"]]
    observation, *_ = envs.step(agent.act(observation))
    spend = observation["source_spend"][0]
    gcd, add = 4 * names.index("gcd") + 3, 4 * names.index("add")
    assert spend[gcd] / spend[add] == pytest.approx(2, rel=0.1)
    assert spend[gcd] + spend[add] > 0.9 * spend.sum()


def test_it_names_the_engine_that_it_orders_from(endpoint: FakeEndpoint) -> None:
    envs: Any = gym.make_vec("kdgym/DataGen-Math-OpenEnded-v1", num_envs=2, autoreset=False, **SMALL)
    observation, _ = envs.reset(seed=3)
    agent: Any = load_agent("llm", envs, options=options(endpoint))
    introduce(agent, envs, observation)
    endpoint.reply = lambda asked: {"orders": [{"items": 5, "error": 1, "engine": "C"}]}
    actions = agent.act(observation)
    for action, text in zip(actions, observation, strict=True):
        seen = json.loads(text)
        order = {"like": seen["errors"][0]["problem"], "engine": "C"}
        assert json.loads(action) == [{"draw": 5, **order}, {"draw": seen["items"] - 5, **order}]
        assert sum("engine_answer " in asked["messages"][1]["content"] for asked in endpoint.asked) == 2
    *_, info = envs.step(actions)
    assert not any(info["items/explained"])


@pytest.mark.parametrize(
    "env_id", ["kdgym/DataGen-Math-SkillTree-v0", "kdgym/Orchestrate-Math-v1", "kdgym/Select-Images-v0"]
)
def test_it_teaches_in_every_family(env_id: str, endpoint: FakeEndpoint) -> None:
    endpoint.reply = lambda asked: {}
    found = kdgym.evaluate(env_id, "llm", 2, options=options(endpoint), **find(env_id).small)
    assert found.remarks.keys() == {"questions"}


def test_a_prompt_of_ones_own_is_a_class_of_two_lines(endpoint: FakeEndpoint) -> None:
    class Strict(LanguageTeacher):
        system = "You are strict."

    endpoint.reply = lambda asked: {}
    kdgym.evaluate(ID, Strict, 2, options=options(endpoint), **SMALL)
    assert {asked["messages"][0]["content"].partition("\n")[0] for asked in endpoint.asked} == {"You are strict."}


# --- in a notebook, and what it will cost ----------------------------------------------------------------------------


def test_it_teaches_inside_a_running_event_loop(endpoint: FakeEndpoint) -> None:
    endpoint.reply = lambda asked: {}

    async def cell() -> Any:
        return kdgym.evaluate(ID, "llm", 2, options=options(endpoint), **SMALL)

    assert asyncio.run(cell()).remarks == {"questions": 6}


def test_an_estimate_stands_before_the_first_question(
    endpoint: FakeEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint.reply = lambda asked: {}
    chosen = [word for name, value in SMALL.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", ID, "--agent", "llm", "--episodes", "4", *asking(endpoint.url)[2:], *chosen])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    estimate = re.search(r"llm: about 12 questions with ([\d,]+) tokens", told)
    asked = sum(len(message["content"]) for one in endpoint.asked for message in one["messages"])
    assert estimate is not None and len(endpoint.asked) == 12
    assert float(estimate[1].replace(",", "")) == pytest.approx(asked / 2, rel=0.1)
    assert estimate.start() < told.index("minus")
