"""Parameter sharing: a row is a teacher, rewards are mixed, and training goes on where it was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from kdgym.agents.classroom import bid_ppo
from kdgym.evaluation import evaluate
from kdgym.teaching.sb3_classroom import TeachersVecEnv

ID = "kdgym/Classroom-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def rows(mixing: float = 0.0, classrooms: int = 2) -> TeachersVecEnv:
    return TeachersVecEnv(gym.make_vec(ID, num_envs=classrooms, mixing=mixing, **SMALL))


def test_a_row_is_a_teacher_of_a_classroom() -> None:
    envs, plain = rows(), gym.make_vec(ID, num_envs=2, **SMALL)
    envs.seed(7)
    seen: Any = envs.reset()
    bids = envs.bids
    expected = bids.seen(plain.reset(seed=[7, 8])[0])  # type: ignore[arg-type]  # a seed a student
    assert envs.num_envs == 6
    for name, value in expected.items():
        assert np.array_equal(seen[name], value.reshape(6, -1)), name
    assert seen["is_teacher_1"][:, 0].tolist() == [0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_rewards_are_mixed_at_every_step_and_the_last(mixing: float) -> None:
    envs, plain = rows(mixing), gym.make_vec(ID, num_envs=2, mixing=mixing, **SMALL)
    envs.seed(1)
    envs.reset()
    plain.reset(seed=[1, 2])  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for step in range(3):
        action = rng.uniform(-1, 1, (6, envs.bids.entries)).astype(np.float32)
        _, reward, done, infos = envs.step(action)
        _, _, _, _, info = plain.step(action.reshape(2, -1))
        told = info if step < 2 else info["final_info"]
        gains = np.stack([told[f"gain/teacher_{i}"] for i in range(3)], axis=1)
        expected = (1 - mixing) * gains + mixing * gains.mean(1, keepdims=True)
        assert reward.reshape(2, 3) == pytest.approx(expected, abs=1e-6)
    assert done.all()
    last: Any = info["final_obs"][1]
    assert np.array_equal(infos[3]["terminal_observation"]["purse"], last["purse"][:1])


def test_other_environments_are_refused() -> None:
    with pytest.raises(TypeError, match="takes classrooms"):
        TeachersVecEnv(gym.make_vec("kdgym/DataGen-Math-v0", num_envs=2))


@pytest.mark.slow
def test_training_resumes_bitwise_and_its_model_teaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bid_ppo.Agent, "students", 4)
    changed = {**bid_ppo.Agent.hyperparameters, "batch_size": 36, "n_epochs": 1}
    monkeypatch.setattr(bid_ppo.Agent, "hyperparameters", changed)
    rollout = 4 * 3 * 12
    whole = bid_ppo.Agent.train(ID, 8 * rollout, tmp_path / "whole", settings={"mixing": 0.5})
    bid_ppo.Agent.train(ID, 4 * rollout, tmp_path / "parts", settings={"mixing": 0.5})
    parts = bid_ppo.Agent.train(ID, 8 * rollout, tmp_path / "parts", settings={"mixing": 0.5})
    space = gym.make(ID).unwrapped
    agents = []
    for path in (whole, parts):
        agents.append(bid_ppo.Agent(space.observation_space, space.action_space))
        agents[-1].load(path)
    for one, other in zip(*(agent.trained.model.policy.parameters() for agent in agents), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other)
    result = evaluate(ID, f"bid_ppo:{parts}", 2, **SMALL)
    assert result.extras["gains"].shape == (2, 3)


def test_an_untrained_agent_says_what_to_do() -> None:
    env = gym.make(ID, **SMALL)
    agent = bid_ppo.Agent(env.observation_space, env.action_space)
    with pytest.raises(ValueError, match="has to be trained first"):
        agent.act({})
