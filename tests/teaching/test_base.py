"""The base of teachers: hooks that do nothing, and an error for one that is misspelt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

from kdgym.catalogue import packaged
from kdgym.cli import app
from kdgym.evaluation import Policy, agent_class, introduce, teach
from kdgym.leaderboard.submit import source_of
from kdgym.teaching import Fixed, Teacher
from kdgym.wrappers.population_reset import collect_population_snapshots

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 2, "budget": 64.0, "validation_items": 2, "autoreset": False}


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("stduy", "study"), ("resett", "reset"), ("remark", "remarks"), ("after_steps", "after_step")],
)
def test_a_misspelt_hook_is_an_error(misspelt: str, meant: str) -> None:
    with pytest.raises(TypeError, match=f"{misspelt}, which is no hook. Did you mean {meant}"):
        type("Agent", (Teacher,), {misspelt: lambda self, given: None})


def test_methods_of_its_own_are_no_hooks() -> None:
    kind = type("Agent", (Teacher,), {"profile": lambda self: 1, "_reset": lambda self: 2})
    assert kind(None, None).profile() == 1


def test_a_teacher_without_hooks_teaches_like_a_class_of_its_own() -> None:
    def act(self: Any, observation: Any) -> Any:
        return np.zeros((len(observation["time"]), *self.action_space.shape), dtype=np.float32)

    def init(self: Any, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    outcomes = []
    for kind in (type("Agent", (Teacher,), {"act": act}), type("Agent", (), {"__init__": init, "act": act})):
        envs: Any = gym.make_vec(ID, num_envs=2, **SMALL)
        agent = kind(envs.single_observation_space, envs.single_action_space)
        outcomes.append(teach(envs, agent, 0)[0])
    assert np.array_equal(outcomes[0]["after"], outcomes[1]["after"])
    assert outcomes[0]["remarks"] == outcomes[1]["remarks"] == {}


class Listening(Teacher):
    """Writes down what it is told, in its order."""

    def reset(self, observation: Any) -> None:
        self.heard: list[Any] = []

    def act(self, observation: Any) -> Any:
        self.heard.append("act")
        return np.zeros((len(observation["time"]), *self.action_space.shape), dtype=np.float32)

    def after_step(self, reward: Any, done: Any) -> None:
        self.heard.append((reward.copy(), done.copy()))
        reward[:], done[:] = np.nan, True  # of no consequence


def test_a_teacher_is_told_what_came_of_every_step_before_the_next_one() -> None:
    envs: Any = gym.make_vec(ID, num_envs=2, **SMALL)
    agent = Listening(envs.single_observation_space, envs.single_action_space)
    _, actions = teach(envs, agent, 0)
    assert len(actions) == 2
    envs.reset(seed=0)
    expected = [envs.step(action)[1:3] for action in actions]
    assert [part for part in agent.heard if part == "act"] == agent.heard[::2] == ["act"] * 2
    for (reward, done), (paid, over) in zip(agent.heard[1::2], expected, strict=True):
        assert reward.dtype == np.float64 and done.dtype == bool
        assert np.array_equal(reward, paid) and np.array_equal(done, over)
    assert agent.heard[-1][1].all() and not agent.heard[1][1].any()


@pytest.mark.parametrize("loop", ["collect", "watch"])
def test_other_loops_tell_it_too(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    monkeypatch.setattr(agent_class("uniform"), "after_step", lambda self, *told: heard.append(told), raising=False)
    if loop == "collect":
        envs: Any = gym.make_vec(ID, num_envs=2, **SMALL).unwrapped
        collect_population_snapshots(envs, Policy("uniform", envs))
    else:
        assert CliRunner().invoke(app, ["watch", ID, "--agent", "uniform"]).exit_code == 0
    assert len(heard) == (2 if loop == "collect" else 12)
    assert [bool(done.all()) for _, done in heard] == [False] * (len(heard) - 1) + [True]


def test_an_upper_bound_is_given_the_environment_and_nobody_else() -> None:
    envs: Any = gym.make_vec(ID, num_envs=1, **SMALL)
    observation, _ = envs.reset(seed=0)
    plain, informed = Teacher(None, None), type("Agent", (Teacher,), {"upper_bound": True})(None, None)
    for teacher in (plain, informed):
        introduce(teacher, envs, observation)
    assert informed.envs is envs
    assert not hasattr(plain, "envs")


def test_a_teacher_that_decides_nothing_or_keeps_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="defines no act"):
        Teacher(None, None).act({})
    with pytest.raises(ValueError, match="keeps nothing in files"):
        Teacher(None, None).load(tmp_path)


PRESETS = [name for name, agent in packaged().items() if agent.kind != "Agent" and "kdgym.agents." in agent.module]


@pytest.mark.parametrize("name", PRESETS)
def test_the_code_of_a_preset_stands_for_itself(name: str) -> None:
    """A record carries it alone, without the module where it is written."""
    scope: dict[str, Any] = {}
    exec(source_of(name) or "", scope)
    made, kept = scope["Agent"], agent_class(name)
    assert issubclass(made, Fixed)
    assert (made.rule, made.__doc__) == (kept.rule, kept.__doc__)
