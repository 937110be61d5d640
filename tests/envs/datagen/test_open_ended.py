"""Open-Ended DataGen: students learn exactly what is written, money is the limit, and nothing held out is shown."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.tasks import SPLITS

IDS = ["kdgym/DataGen-Math-OpenEnded-v0", "kdgym/DataGen-VQA-OpenEnded-v0"]
SMALL: dict[str, Any] = {"steps": 3, "budget": 3 * 64.0, "validation_items": 8}


def make(env_id: str, num_envs: int = 2, **changes: Any) -> Any:
    return gym.make_vec(env_id, num_envs=num_envs, autoreset=False, **{**SMALL, **changes})


def items(envs: Any, skill: int, n: int, wrong: bool = False) -> list[dict[str, Any]]:
    """The first ``n`` train problems of a skill, as a teacher writes them."""
    task = envs.task
    start, answers = int(task.pool("train").start[skill]), task.answer_pool
    first, count = int(answers.start[skill]), int(answers.count[skill])
    written = []
    for problem in range(start, start + n):
        right = int(task.solution[problem])
        answer = first + (right - first + 1) % count if wrong else right
        written.append({"problem": task.write_problem(problem), "answer": task.answer_text(answer)})
    return written


@pytest.mark.parametrize("env_id", IDS)
def test_practice_is_from_the_train_split_and_errors_are_errors(env_id: str) -> None:
    envs = make(env_id, 4)
    observation, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observation)
    task = envs.task
    for i, text in enumerate(observation):
        seen = json.loads(text)
        assert set(seen) == {"score", "change", "items", "steps_left", "practice", "errors"}
        assert seen["practice"]["tried"] == 32
        assert len(seen["errors"]) == 32 - seen["practice"]["right"]
        assert seen["score"] == pytest.approx(envs.score()[i], abs=1e-4)
        for error in seen["errors"]:
            posed = task.read_problem(error["problem"])  # refuses what is held out
            assert task.answer_text(posed.solution) == error["right"] != error["given"]


@pytest.mark.parametrize("env_id", IDS)
def test_practice_follows_the_targets(env_id: str) -> None:
    envs = make(env_id, 64, errors=64)
    envs.reset(seed=0)
    skill = envs.task.skill_of[envs.state["probe"]]
    share = np.stack([(skill == k).double().mean(1).numpy() for k in range(len(envs.task.skills))], axis=1)
    target = envs.state["target"].numpy()
    assert (share[target == 0] == 0).all()
    assert np.abs(share - target).mean() < 0.02


@pytest.mark.parametrize("env_id", IDS)
def test_students_learn_what_is_written_right_or_wrong(env_id: str) -> None:
    envs = make(env_id, 2, steps=2, budget=2 * 2000.0)
    envs.reset(seed=0)
    skill = [s.name for s in envs.task.skills].index("max" if "Math" in env_id else "how_many")
    right, wrong = (json.dumps(items(envs, skill, 400, wrong) * 4) for wrong in (False, True))
    _, _, _, _, info = envs.step([right, wrong])
    assert info["items/accepted"].tolist() == [1600, 1600]
    assert info["items/verified"].tolist() == [1, 0]
    examined = envs.examine("train")
    accuracy = examined["right"][:, skill] / examined["asked"][:, skill]
    assert accuracy[0] > 0.5
    assert accuracy[1] < 0.2


@pytest.mark.parametrize("env_id", IDS)
def test_money_is_the_limit_and_everything_read_costs(env_id: str) -> None:
    envs = make(env_id)
    observation, _ = envs.reset(seed=0)
    spent = np.zeros(2)
    for lesson in ([{"draw": 1000}], [5, {"draw": 3}, {"problem": "x", "answer": "y"}], []):
        allowed = [json.loads(text)["items"] for text in observation]
        observation, _, terminated, _, info = envs.step([json.dumps(lesson)] * 2)
        cost = info["cost/data_engine/money"]
        assert (cost <= allowed).all()
        spent += cost
    assert terminated.all()
    assert spent.tolist() == [64 + 5, 64 + 5]
    assert envs.ledger()["teacher"]["items"].tolist() == spent.tolist()


def test_refusals_are_explained_in_info() -> None:
    env = gym.make(IDS[0], **SMALL)
    env.reset(seed=0)
    *_, info = env.step('[{"draw": 2}, 7]')
    assert info["items/accepted"] == 2
    assert info["items/rejected/malformed"] == 1
    assert info["items/explained"].startswith("Item 1:")


@pytest.mark.parametrize("env_id", IDS)
def test_nothing_observable_depends_on_the_test_split(env_id: str) -> None:
    honest, spoiled = make(env_id), make(env_id)
    pool = spoiled.task.pool("test")
    for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
        spoiled.students.solution = spoiled.students.solution.clone()
        spoiled.students.solution[start : start + count] = 0
    seen = [envs.reset(seed=3)[0] for envs in (honest, spoiled)]
    for _ in range(3):
        assert seen[0] == seen[1]
        results = [envs.step(['[{"draw": 40}]'] * 2) for envs in (honest, spoiled)]
        assert np.array_equal(results[0][1], results[1][1])
        seen = [result[0] for result in results]
    assert not np.array_equal(honest.examine("test")["right"], spoiled.examine("test")["right"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *(
            (wrong, "give 2 texts")
            for wrong in (
                "text",
                ["a"],
                [1, 2],
                ["a", None],
                [],
                [["a"], ["b"]],
                None,
                1.5,
                float("nan"),
                True,
                {},
                {"a": 1, "b": 2},
                b"ab",
            )
        ),
        *((np.array(wrong, dtype=object), "give 2 texts") for wrong in (None, "ab", [["a", "b"]], ["a", 1])),
        (["a", "\ud800"], "student 1 has half of a surrogate pair"),
        (['["\udfff"]', "b"], "student 0 has half of a surrogate pair"),
    ],
)
def test_actions_that_are_no_texts_are_refused(wrong: Any, message: str) -> None:
    envs = make(IDS[0])
    envs.reset(seed=0)
    before = envs.snapshot()
    with pytest.raises(ValueError, match=message):
        envs.step(wrong)
    assert all(bool((a == b).all()) for a, b in zip(envs.snapshot().rows, before.rows, strict=True))


def test_a_lesson_of_the_same_items_is_learned_in_random_order() -> None:
    envs = make(IDS[0], steps=1, budget=64.0)
    states = []
    for seed in (0, 0, 1):
        envs.reset(seed=seed)
        envs.step([json.dumps(items(envs, 0, 32))] * 2)
        states.append(envs.state["student"].clone())
    assert bool((states[0] == states[1]).all())
    assert not bool((states[0] == states[2]).all())


def test_every_split_is_drawn_from_where_it_should_be() -> None:
    envs = make(IDS[0], 4)
    envs.reset(seed=0)
    for split in SPLITS:
        pool = envs.task.pool(split)
        inside = (envs.state["probe"][..., None] >= pool.start) & (
            envs.state["probe"][..., None] < pool.start + pool.count
        )
        assert bool(inside.any()) == (split == "train")
