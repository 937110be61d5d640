"""Nothing from the test split reaches a teacher: not by observation, reward or info, on any id."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import pytest

from kdgym.registration import ENVIRONMENTS
from kdgym.tasks import Pool, Split
from tests.tiers import tiered

COURSES = (
    "kdgym.envs.datagen",
    "kdgym.envs.feedback.feedback",
)  # pages that have students practise problems with splits
IDS = [entry.id for entry in ENVIRONMENTS if entry.module.startswith(COURSES) and not entry.needs_model]
OTHERS = [entry.id for entry in ENVIRONMENTS if not entry.module.startswith(COURSES) and not entry.slow]


class TestSplitError(AssertionError):
    """Somebody asked for the test split."""

    __test__ = False


def without_test_split(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, asking the task where its test problems are fails."""
    pool = task.pool

    def guarded(split: Split) -> Pool:
        if split == "test":
            raise TestSplitError
        found: Pool = pool(split)
        return found

    monkeypatch.setattr(task, "pool", guarded)


def keys(value: Any) -> set[str]:
    """Every key of nested infos."""
    if not isinstance(value, dict):
        return set()
    return set(value) | {key for item in value.values() for key in keys(item)}


@pytest.mark.slow
@pytest.mark.parametrize("env_id", tiered(IDS))
def test_lessons_never_touch_the_test_split(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    envs: Any = gym.make_vec(env_id, num_envs=2, steps=3, budget=300.0).unwrapped
    envs.reset(seed=0)  # base students, which are pretrained on train problems, are in the cache from here on
    with monkeypatch.context() as patch:
        without_test_split(envs.task, patch)
        envs.action_space.seed(0)
        _, info = envs.reset(seed=1)
        seen = keys(info)
        for _ in range(4):  # into the next episode
            _, _, _, _, info = envs.step(envs.action_space.sample())
            seen |= keys(info)
        with pytest.raises(TestSplitError):
            envs.examine("test")
        envs.examine("validation")
    assert envs.examine("test")["asked"].all()
    assert not {key for key in seen if "test" in key.lower()}


@pytest.mark.parametrize("env_id", [id for id in IDS if "OpenEnded" in id])
def test_errors_shown_to_writers_are_train_problems(env_id: str) -> None:
    """Whatever a writer is shown, it may write itself: the task refuses held-out problems."""
    envs: Any = gym.make_vec(env_id, num_envs=3, steps=2, budget=200.0).unwrapped
    observations, _ = envs.reset(seed=0)
    shown = [error["problem"] for text in observations for error in json.loads(text)["errors"]]
    assert shown
    for problem in shown:
        envs.task.read_problem(problem)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", tiered(OTHERS))
def test_nothing_of_an_examination_is_told(env_id: str) -> None:
    """Examinations of what teachers may not know change nothing that they see, and no info mentions them."""
    examined, plain = (gym.make_vec(env_id, num_envs=2, autoreset=False).unwrapped for _ in range(2))
    for envs in (examined, plain):
        envs.action_space.seed(0)
        envs.reset(seed=1)
    examined.examine("test")
    for _ in range(2):
        (seen, reward, *_, info), (expected, due, *_) = (e.step(e.action_space.sample()) for e in (examined, plain))
        examined.examine("test")
        assert all((seen[name] == expected[name]).all() for name in expected)
        assert (reward == due).all()
        assert not {key for key in keys(info) if "test" in key.lower()}
