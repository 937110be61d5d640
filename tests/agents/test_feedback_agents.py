"""Teachers that comment on attempts follow the rules they are named after."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kdgym.evaluation import load_agent
from kdgym.students.policy_gradient import SHAPINGS

ID = "kdgym/Feedback-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def feedback(name: str, **seen: float) -> dict[str, np.ndarray]:
    """What a Feedback teacher does for a student of whom all skills look alike: decision -> entries of the action."""
    envs: Any = gym.make_vec(ID, num_envs=1, autoreset=False, **SMALL)
    observation, _ = envs.reset(seed=0)
    for key, value in seen.items():
        observation[key][:] = value
    agent: Any = load_agent(name, envs)
    if hasattr(agent, "reset"):
        agent.reset(observation)
    action, place, parts = agent.act(observation)[0], 0, {}
    for decision, options in envs.single_action_space.choices.items():
        parts[decision] = action[place : place + max(1, len(options))]
        place += len(parts[decision])
    return parts


def test_without_feedback_nobody_is_guided() -> None:
    assert feedback("no_feedback")["fraction"] == -1


@pytest.mark.parametrize("success", [0.0, 0.9])
def test_thinktuning_never_changes_its_mind(success: float) -> None:
    assert feedback("thinktuning", success=success)["fraction"] == -0.5


def test_hints_get_shorter_as_students_succeed_and_stop() -> None:
    lengths = [float(feedback("adaptive_hint", success=success)["length"][0]) for success in (0.0, 0.3, 0.6)]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] == 1
    assert feedback("adaptive_hint", success=0.7)["fraction"] == -1


def test_neighbours_do_what_sets_them_apart() -> None:
    critique = feedback("critique_grpo")
    assert critique["fraction"] == -0.75  # one of eight
    assert (critique["kind"].argmax(), critique["shaping"].argmax()) == (0, SHAPINGS.index("mask"))
    assert feedback("learn_to_reason")["fraction"] == 0
    weights = [float(feedback("kdrl", time=left)["weight"][0]) for left in (1.0, 0.5, 0.0)]
    assert weights == pytest.approx([1, 0.2, -0.6])
    assert feedback("kdrl")["length"] == -1  # one step


def test_the_bandit_tries_every_kind_and_returns_to_the_best() -> None:
    envs: Any = gym.make_vec(ID, num_envs=1, autoreset=False, **SMALL)
    observation, _ = envs.reset(seed=0)
    agent: Any = load_agent("feedback_bandit", envs)
    observation["loss"][:] = 1.0
    agent.reset(observation)
    kinds = []
    for _ in range(8):
        kinds.append(int(agent.act(observation)[0, 5:9].argmax()))
        observation["loss"] -= 0.1 if kinds[-1] == 2 else 0.0
    assert kinds == [0, 1, 2, 3, 2, 2, 2, 2]
