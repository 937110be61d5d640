"""STAT gives to what failed problems miss; its controls each lack one thing that it has."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import introduce, load_agent

IDS = ["kdgym/DataGen-Math-v0", "kdgym/DataGen-Code-v0", "kdgym/DataGen-VQA-v0"]
CONTROLS = ["stat_errors", "stat_no_state", "stat_random"]
Observation = dict[str, np.ndarray]


class Lesson:
    """One student whose goal is a skill that builds on others, and who is half good at everything."""

    def __init__(self, env_id: str, students: int = 1) -> None:
        self.envs: Any = gym.make_vec(env_id, num_envs=students, autoreset=False, validation_items=8)
        self.observation, _ = self.envs.reset(seed=0)
        self.skills = [skill["name"] for skill in self.envs.metadata["skills"]]
        skill = next(skill for skill in self.envs.metadata["skills"] if skill["prerequisites"])
        self.goal, self.below = self.skills.index(skill["name"]), self.skills.index(skill["prerequisites"][0])
        self.observation["target"][:] = 0
        self.observation["target"][:, self.goal] = 1
        self.observation["accuracy"][:] = 0.5

    def shares(self, name: str) -> np.ndarray:
        """What each skill gets, [S, K]."""
        agent: Any = load_agent(name, self.envs, seed=3)
        introduce(agent, self.envs, self.observation)
        given: np.ndarray = self.envs.single_action_space.decode(agent.act(self.observation))
        return given.reshape(len(given), len(self.skills), -1).sum(2)


@pytest.mark.parametrize("env_id", IDS)
def test_stat_gives_to_the_skills_that_failed_problems_build_on(env_id: str) -> None:
    lesson = Lesson(env_id)
    (given,) = lesson.shares("stat")
    others = np.delete(given, [lesson.goal, lesson.below])
    assert given[lesson.goal] > given[lesson.below] > 10 * others.min()
    assert given[lesson.goal] == pytest.approx(2 * given[lesson.below])


@pytest.mark.parametrize("env_id", IDS)
def test_stat_gives_less_to_a_prerequisite_that_the_student_knows(env_id: str) -> None:
    lesson = Lesson(env_id)
    (before,) = lesson.shares("stat")
    lesson.observation["accuracy"][:, lesson.below] = 1
    (after,) = lesson.shares("stat")
    assert after[lesson.below] < 0.2 * before[lesson.below]


@pytest.mark.parametrize("name", ["stat", *CONTROLS])
def test_a_perfect_student_is_taught_its_goal(name: str) -> None:
    lesson = Lesson(IDS[0])
    lesson.observation["accuracy"][:] = 1
    (given,) = lesson.shares(name)
    assert np.isfinite(given).all()
    if name != "stat_random":
        assert given.argmax() == lesson.goal


@pytest.mark.parametrize("env_id", IDS)
def test_errors_alone_ask_for_no_prerequisite(env_id: str) -> None:
    lesson = Lesson(env_id)
    (given,) = lesson.shares("stat_errors")
    assert np.delete(given, lesson.goal) == pytest.approx(given[lesson.below])
    assert given[lesson.goal] > 10 * given[lesson.below]


def test_without_state_the_student_makes_no_difference() -> None:
    lesson = Lesson(IDS[0])
    before = {name: lesson.shares(name) for name in ("stat", "stat_no_state")}
    for key in ("accuracy", "loss", "change", "source_loss", "source_loss_mean"):
        lesson.observation[key][:] = np.random.default_rng(1).uniform(0, 1, lesson.observation[key].shape)
    assert np.array_equal(lesson.shares("stat_no_state"), before["stat_no_state"])
    assert not np.allclose(lesson.shares("stat"), before["stat"])


def test_a_random_profile_is_stats_own_on_other_skills_and_keeps_to_it() -> None:
    lesson = Lesson(IDS[0], students=8)
    stat, wrong = lesson.shares("stat"), lesson.shares("stat_random")
    assert np.sort(wrong, axis=1) == pytest.approx(np.sort(stat, axis=1))
    assert len(set(wrong.argmax(1))) > 2
    agent: Any = load_agent("stat_random", lesson.envs)
    introduce(agent, lesson.envs, lesson.observation)
    assert np.array_equal(agent.act(lesson.observation), agent.act(lesson.observation))


def test_an_open_ended_teacher_is_told_no_skill() -> None:
    assert "skills" not in gym.make("kdgym/DataGen-Math-OpenEnded-v0").unwrapped.metadata


def test_one_student_says_of_itself_what_the_population_says() -> None:
    single: Any = gym.make(IDS[0]).unwrapped
    assert single.metadata["skills"] == Lesson(IDS[0]).envs.metadata["skills"]
    assert "autoreset_mode" not in single.metadata
