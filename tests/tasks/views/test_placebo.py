"""A placebo looks like the lesson, and teaches nothing about it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from rich.console import Console

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import Result, evaluate
from kdgym.evaluation.report import placebo_table
from kdgym.tasks import make_task
from kdgym.tasks.examination import draw_items
from kdgym.tasks.views.placebo import Placebo

ID = "kdgym/DataGen-Math-v0"


@pytest.fixture(scope="module")
def items() -> dict[str, Any]:
    task = make_task("Math")
    problem = draw_items(task, "train", torch.arange(4), 32)
    answer = task.solution[problem]
    total = torch.full((4,), problem.shape[1])
    twin = Placebo(task, torch.device("cpu")).answers(problem, answer, total, torch.arange(4))
    return {"task": task, "problem": problem, "answer": answer, "twin": twin, "total": total}


def test_answers_come_from_the_same_skill_with_the_same_frequencies(items: dict[str, Any]) -> None:
    task, skill = items["task"], items["task"].skill_of[items["problem"]]
    start, count = task.answer_pool.start[skill], task.answer_pool.count[skill]
    assert ((items["twin"] >= start) & (items["twin"] < start + count)).all()
    lengths = {a: len(task.answer_text(a)) for a in range(len(task.answer))}
    for k in range(len(task.skills)):
        real, twin = (np.mean([lengths[a] for a in items[n][skill == k].tolist()]) for n in ("answer", "twin"))
        assert abs(real - twin) < 0.3


def test_answers_are_right_no_more_often_than_by_chance(items: dict[str, Any]) -> None:
    task, skill = items["task"], items["task"].skill_of[items["problem"]]
    for k in range(len(task.skills)):
        of_skill = task.solution[task.skill_of == k]
        frequency = torch.bincount(of_skill).double() / len(of_skill)
        chance = float((frequency**2).sum())
        hits = (items["twin"] == items["answer"])[skill == k].double().mean()
        assert abs(hits - chance) < 4 * (chance * (1 - chance) / 128) ** 0.5 + 0.02


def test_a_teachers_own_items_swap_answers_among_themselves() -> None:
    task = make_task("Math")
    problems, answers = len(task.prompt), len(task.answer)
    problem = torch.tensor([[problems, 5, problems + 1, problems + 2, 7, 9]])
    answer = torch.tensor([[answers, 0, answers + 1, answers + 2, 0, 0]])
    twin = Placebo(task, torch.device("cpu")).answers(problem, answer, torch.tensor([5]), torch.tensor([3]))
    assert twin[0, [0, 2, 3]].tolist() == [answers + 1, answers + 2, answers]
    assert (twin[0, [1, 4]] < answers).all()


def test_twins_spend_the_same_and_learn_nothing(items: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"steps": 6, "max_targets": 1, "validation_items": 16}
    result = evaluate(ID, "informed", 12, placebo=True, budget=6 * 640.0, **settings)
    twin = result.extras["placebo"]
    assert (result.after - twin).mean() > 0.1  # something was learned
    assert (twin - result.before).mean() < 0.05  # and not from the form of tiny students' answers
    text = Console(width=80, record=True)
    text.print(placebo_table([result]))
    assert f"{result.before.mean():.2f}" in text.export_text()


def test_without_a_twin_nothing_is_said() -> None:
    result: Result = evaluate(ID, "uniform", 2, steps=2, budget=32.0, validation_items=2)
    assert result.extras == {}


def test_observations_of_a_placebo_are_a_students_own() -> None:
    for twin in (False, True):
        env: Any = gym.make(ID, placebo=twin, steps=2, budget=640.0, validation_items=2)
        env.reset(seed=0)
        observation, *_ = env.step(np.zeros(env.action_space.shape, np.float32))
        losses = observation["source_loss"]
        assert env.observation_space.contains(observation)
        assert (losses > 0).all()
