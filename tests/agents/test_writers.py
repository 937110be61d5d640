"""Teachers that write: what they ask for comes from the student's errors, and no engine shows them what is held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym.agents.open_ended import llm_arte
from kdgym.agents.open_ended.llm2llm import VARIANTS
from kdgym.evaluation import introduce, load_agent

IDS = [f"kdgym/DataGen-{task}-OpenEnded-v0" for task in ("Math", "Code", "VQA")]
NOBODY = "http://127.0.0.1:9/v1"


def make(env_id: str, students: int = 2, **changes: Any) -> tuple[Any, Any]:
    settings: dict[str, Any] = {"steps": 6, "budget": 6 * 256.0, "validation_items": 8, **changes}
    envs: Any = gym.make_vec(env_id, num_envs=students, autoreset=False, **settings)
    return envs, envs.reset(seed=0)[0]


def teacher(name: str, envs: Any, observation: Any) -> Any:
    agent: Any = load_agent(name, envs)
    introduce(agent, envs, observation)
    return agent


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The problems of every lesson given, as the students get them."""
    from kdgym.students import TransformerStudents

    seen: list[torch.Tensor] = []
    train = TransformerStudents.train

    def record(self: Any, rows: Any, batch: Any, *rest: Any) -> Any:
        seen.append(batch.problem.clone())
        return train(self, rows, batch, *rest)

    monkeypatch.setattr(TransformerStudents, "train", record)
    return seen


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("name", ["llm2llm", "open_ended"])
def test_every_error_shown_gets_its_variants_and_all_the_money_is_spent(env_id: str, name: str) -> None:
    envs, observation = make(env_id)
    for text, seen in zip(teacher(name, envs, observation).act(observation), map(json.loads, observation), strict=True):
        lesson = json.loads(text)
        assert sum(item["draw"] for item in lesson) == seen["items"]
        shown = [error["problem"] for error in seen["errors"]]
        asked = [item["like"] for item in lesson if "like" in item]
        assert all(problem in shown for problem in asked)
        if name == "llm2llm":
            assert asked == shown[: len(asked)]
            assert {item["draw"] for item in lesson[: len(asked) - 1]} == {VARIANTS}
        else:
            assert len(asked) == len(lesson)


@pytest.mark.parametrize("env_id", IDS)
def test_variants_are_others_of_the_same_kind_and_never_held_out(env_id: str, taught: list[torch.Tensor]) -> None:
    envs, observation = make(env_id)
    errors = [json.loads(text)["errors"][0]["problem"] for text in observation]
    envs.step([json.dumps([{"draw": 256, "like": problem}]) for problem in errors])
    task, train = envs.task, envs.task.pool("train")
    for problem, given in zip(errors, taught[-1], strict=True):
        posed = task.read_problem(problem)
        first, count = int(train.start[posed.skill]), int(train.count[posed.skill])
        assert ((given >= first) & (given < first + count)).all()
        same = (task.prompt[given] == posed.prompt).all(1)
        if posed.image is not None:
            same &= (task.scenes[task.scene[given]] == posed.image).flatten(1).all(1)
        assert not same.any()
        assert len(given.unique()) > 50


def test_a_draw_like_the_only_other_problem_is_that_one(taught: list[torch.Tensor]) -> None:
    envs, _ = make(IDS[0], students=1)
    start, pool = int(envs.task.pool("train").start[0]), envs._train_problems
    envs._train_problems = (pool[0], torch.full_like(pool[1], 2))
    envs.step([json.dumps([{"draw": 256, "like": envs.task.write_problem(start)}])])
    assert taught[-1].unique().tolist() == [start + 1]


def test_a_held_out_example_is_refused_and_charged() -> None:
    envs, _ = make(IDS[0], students=1)
    held_out = envs.task.text(int(envs.task.pool("test").start[0]))
    *_, info = envs.step([json.dumps([{"draw": 9, "like": held_out}, {"draw": 9, "like": "what?"}, {"draw": 1}])])
    assert info["items/accepted"] == info["items/rejected/held_out"] == info["items/rejected/problem"] == 1
    assert envs.ledger()["teacher"]["items"] == 3


def test_money_limits_what_is_drawn_like_an_example() -> None:
    envs, _ = make(IDS[0], students=1)
    problem = envs.task.write_problem(0)
    *_, info = envs.step([json.dumps([{"draw": 200, "like": problem}, {"draw": 200, "like": problem}])])
    assert info["items/accepted"] == 256
    assert info["items/rejected/over_budget"] == 144


def test_arte_with_a_language_model_asks_in_every_way_and_then_in_the_one_that_helped_most(tmp_path: Path) -> None:
    """Nobody answers: every error is its own draft, and what was asked stands in the transcript."""
    envs, observation = make(IDS[0], students=2)
    transcript = tmp_path / "transcript.jsonl"
    options = {"base_url": NOBODY, "model": "m", "transcript": str(transcript), "token_budget": 0}
    agent: Any = load_agent("llm_arte", envs, options=options)
    introduce(agent, envs, observation)
    seen = [json.loads(text) for text in observation]
    for step in range(5):
        changes = ({2: 0.2}.get(step, -0.1), {3: 0.2}.get(step, -0.1))  # after the second way, and after the third
        told = [json.dumps({**one, "change": change}) for one, change in zip(seen, changes, strict=True)]
        with pytest.warns(RuntimeWarning, match="no usable answer"):
            lessons = [json.loads(text) for text in agent.act(told)]
    errors = [{"problem": error["problem"], "answer": error["right"]} for error in seen[0]["errors"][: llm_arte.SHOWN]]
    assert lessons[0] == [*errors, {"draw": seen[0]["items"] - len(errors)}]
    records = [json.loads(line) for line in transcript.read_text().splitlines()]
    ways = {(r["step"], r["student"]): [w for w in llm_arte.WAYS if w in r["prompt"][1]["content"]] for r in records}
    asked = [[ways[step, student] for step in range(5)] for student in range(2)]
    easier, harder = llm_arte.WAYS[1:]
    assert asked == [[[way] for way in (*llm_arte.WAYS, last, last)] for last in (easier, harder)]


def test_a_policy_without_a_plan_leaves_the_engine_alone() -> None:
    envs, observation = make(IDS[0])
    agent: Any = load_agent("llm_engine", envs, options={"base_url": NOBODY, "model": "m", "token_budget": 0})
    introduce(agent, envs, observation)
    with pytest.warns(RuntimeWarning, match="2 of 2 questions"):
        assert [json.loads(text) for text in agent.act(observation)] == [[{"draw": 256}]] * 2


def test_constant_explores_at_every_step() -> None:
    envs: Any = gym.make_vec("kdgym/DataGen-Math-SkillTree-v0", num_envs=2, autoreset=False, validation_items=8)
    observation, _ = envs.reset(seed=0)
    agent = teacher("tree_constant", envs, observation)
    first = agent.act(observation)
    for _ in range(4):
        observation, *_ = envs.step(agent.act(observation))
    assert np.array_equal(agent.act(observation), first)
    assert observation["open"].all()
