"""Teachers of lanes follow the rules they are named after, and a rule that learns beats the lanes that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kdgym.agents.orchestrate import lane_advantage
from kdgym.agents.orchestrate.lane_ppo import Agent as LanePPO
from kdgym.envs.orchestrate.memory import OPERATIONS, PLANS
from kdgym.envs.orchestrate.supervision import LANES
from kdgym.evaluation import introduce, load_agent

ID = "kdgym/Orchestrate-Math-v0"


def make(num_envs: int, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, autoreset=False, **changes)


def decisions(agent: Any, observation: dict[str, np.ndarray]) -> list[tuple[str, str, str]]:
    """Lane, plan and operation chosen for everybody."""
    parts = np.split(agent.act(observation), [len(LANES), len(LANES) + len(PLANS)], axis=1)
    lane, plan, operation = (part.argmax(1) for part in parts)
    return [(LANES[i], PLANS[j], OPERATIONS[k]) for i, j, k in zip(lane, plan, operation, strict=True)]


def reward(name: str, students: int, **changes: Any) -> np.ndarray:
    envs = make(students, **changes)
    agent: Any = load_agent(name, envs, seed=0)
    observation, _ = envs.reset(seed=0)
    introduce(agent, envs, observation)
    for _ in range(envs.steps):
        observation, *_ = envs.step(agent.act(observation))
    score: np.ndarray = envs.score()
    return score


@pytest.mark.slow
def test_who_was_met_in_training_is_known_again(tmp_path: Path) -> None:
    """Two students: one does everything alone, the other needs a coach; their doubt tells them apart."""
    able, weak = ([("0", f"{d}0000"), ("1", f"{d + 0.01:.5f}")] for d in (0.1, 0.5))
    streams = np.arange(8).repeat(2).tolist()
    reward = np.tile([[0.9, 0.7, 0.5]] * 2 + [[0.1, 0.4, 0.95]] * 2, (4, 1))  # by lane
    model = lane_advantage.fit(streams, (able + weak) * 4, reward)
    (tmp_path / "model.json").write_text(json.dumps(model))
    envs = make(3)
    agent: Any = load_agent(f"lane_advantage:{tmp_path / 'model.json'}", envs)
    seen = {"task": np.eye(2)[[0, 0, 0]], "uncertainty": np.array([[0.1], [0.5], [0.9]]), "time": np.ones((3, 1))}
    agent.reset(seen)
    assert [lane for lane, *_ in decisions(agent, seen)] == ["auto", "coach", "coach"]  # the last is a stranger
    again = seen | {"task": np.eye(2)[[1, 1, 1]], "uncertainty": np.full((3, 1), 0.3)}  # doubt that nobody had
    assert [lane for lane, *_ in decisions(agent, again)] == ["auto", "coach", "coach"]
    agent.reset(again)
    assert [lane for lane, *_ in decisions(agent, again)] == ["coach"] * 3


@pytest.mark.thorough
def test_lanes_are_learned_from_what_others_would_have_earned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_advantage, "STUDENTS", 2)
    lines: list[str] = []
    path = lane_advantage.train(ID, 1, tmp_path, report=lambda done, text: lines.append(f"{done}: {text}"))
    assert len(lines) == 1
    assert lines[0].startswith("144: 2 streams: auto ")  # 24 tasks of 2 students in 3 lanes
    assert np.isfinite(reward(f"lane_advantage:{path}", students=2)).all()
    with pytest.raises(ValueError, match="kdgym train ID --agent lane_advantage"):
        load_agent("lane_advantage", make(1)).act(make(1).reset(seed=0)[0])


@pytest.mark.thorough
def test_knowing_whom_to_supervise_beats_every_fixed_lane() -> None:
    fixed = [reward(f"always_{lane}", students=12) for lane in LANES]
    best = max(fixed, key=lambda scores: float(scores.mean()))
    assert (reward("note_once", students=12) - best).mean() > 0.02
    assert (reward("lane_oracle", students=12) - best).mean() > 0.05


@pytest.mark.thorough
def test_ppo_trains_and_acts(tmp_path: Path) -> None:
    model = LanePPO.train(ID, 3072, tmp_path, seed=0)
    assert np.isfinite(reward(f"lane_ppo:{model}", students=4, actions="discrete")).all()
