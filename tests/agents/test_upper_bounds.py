"""Upper bounds that try decisions on copies of the student take the best one: copies and student share all randomness."""

from __future__ import annotations

import itertools
import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import agent_class, introduce, load_agent

STUDENTS = 2
SMALL: dict[str, Any] = {"steps": 2, "budget": 192.0, "validation_items": 16}


def make(env_id: str, **settings: Any) -> tuple[Any, Any]:
    envs: Any = gym.make_vec(env_id, num_envs=STUDENTS, autoreset=False, **settings)
    return envs, envs.reset(seed=5)[0]


def played(name: str, env_id: str, **settings: Any) -> dict[str, np.ndarray]:
    """What is seen of all students after the last step of an episode under this teacher."""
    envs, observation = make(env_id, **settings)
    agent: Any = load_agent(name, envs, seed=0)
    introduce(agent, envs, observation)
    ended = np.zeros(1, dtype=bool)
    while not ended.all():
        observation, _, ended, *_ = envs.step(agent.act(observation))
    return dict(observation)


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("lookahead", "kdgym/DataGen-Math-v0"),
        ("tree_lookahead", "kdgym/DataGen-Math-SkillTree-v0"),
        ("bid_planner", "kdgym/Classroom-Math-v0"),
    ],
)
def test_more_candidates_end_at_no_greater_loss(name: str, env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first candidate's rule is the one that follows every move, so with no other the student is taught by it alone."""
    losses = []
    for candidates in (1, agent_class(name).candidates):
        monkeypatch.setattr(agent_class(name), "candidates", candidates)
        last = played(name, env_id, **SMALL)
        losses.append((last["target"] * last["loss"]).sum(1))
    rule, best = losses
    assert (best < rule).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "env_id"),
    [("feedback_lookahead", "kdgym/Feedback-Math-v0"), ("tutoring_lookahead", "kdgym/Tutoring-Math-v0")],
)
def test_the_rule_that_ends_best_is_followed(name: str, env_id: str) -> None:
    settings = {**SMALL, "budget": 20_000.0}
    ends = []
    for rule in agent_class(name).rules:
        envs, _ = make(env_id, **settings)
        action, ended = envs.single_action_space.encode(STUDENTS, **rule), np.zeros(1, dtype=bool)
        while not ended.all():
            observation, _, ended, *_ = envs.step(action)
        ends.append(observation["accuracy"].mean(1))
    assert np.ptp(ends, axis=0).all()  # it matters
    assert played(name, env_id, **settings)["accuracy"].mean(1) == pytest.approx(np.max(ends, axis=0))


@pytest.mark.slow
def test_snapshot_lookahead_follows_the_starts_that_end_best() -> None:
    settings = {"steps": 2, "updates": 2, "validation_starts": 4, "test_starts": 2}
    env_id = "kdgym/Snapshot-CartPole-v0"
    rules = ("ordinary_resets", "s3rl", "s3rl_long", "reverse_curriculum")
    ends = [played(rule, env_id, **settings)["score"][:, 0] for rule in rules]
    assert np.ptp(ends, axis=0).all()
    assert played("snapshot_lookahead", env_id, **settings)["score"][:, 0] == pytest.approx(np.max(ends, axis=0))


@pytest.mark.slow
def test_lane_oracle_takes_the_highest_expected_reward() -> None:
    envs, observation = make("kdgym/Orchestrate-Math-v0", tasks=2)
    space, agent = envs.single_action_space, load_agent("lane_oracle", envs)
    introduce(agent, envs, observation)
    for _ in range(2):
        action = agent.act(observation)
        tried = list(itertools.product(space.choices["lane"], ("own", "similar")))
        options = np.stack([space.encode(STUDENTS, lane=lane, plan=plan) for lane, plan in tried], axis=1)
        worth = envs.expected_reward(options, 8)
        assert np.ptp(worth, axis=1).all()
        decided = space.decisions(action)
        for student, best in enumerate(worth.argmax(1)):
            lane, plan = tried[best]
            operation = "keep" if lane == "auto" else "write"
            for decision in (f"lane: {lane}", f"plan: {plan}", f"operation: {operation}"):
                assert decided[decision][student] == 1
        observation, *_ = envs.step(action)


@pytest.mark.slow
def test_informed_writer_orders_problems_of_the_target_skills() -> None:
    """Which are hidden; every order is for all the money, in proportion to the targets."""
    envs, observation = make("kdgym/DataGen-Math-OpenEnded-v0", steps=1, budget=4096.0, validation_items=8)
    agent: Any = load_agent("informed_writer", envs, seed=0)
    introduce(agent, envs, observation)
    for text, target in zip(agent.act(observation), envs.hidden()["target"], strict=True):
        ordered = np.zeros(len(target))
        for item in json.loads(text):
            ordered[envs.task.read_problem(item["like"]).skill] += item["draw"]
        assert ordered.sum() == 4096
        assert ordered / 4096 == pytest.approx(target, abs=0.03)


@pytest.mark.slow
def test_informed_writer_orders_every_skill_from_its_sound_engine() -> None:
    envs, observation = make("kdgym/DataGen-Math-OpenEnded-v1", steps=1, budget=640.0, validation_items=8)
    agent: Any = load_agent("informed_writer", envs, seed=0)
    introduce(agent, envs, observation)
    for text, sound in zip(agent.act(observation), envs.hidden()["sound"], strict=True):
        for item in json.loads(text):
            assert item["engine"] == "ABCDE"[sound[envs.task.read_problem(item["like"]).skill]]
