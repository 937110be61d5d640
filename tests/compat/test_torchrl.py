"""TorchRL takes ids, populations and PettingZoo's environments as they are."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torchrl.envs import GymEnv, GymWrapper, PettingZooWrapper, check_env_specs

import kdgym  # noqa: F401  # registers the environments
from kdgym.envs.classroom.classroom import env as turns_of_teachers
from kdgym.envs.classroom.classroom import parallel_env
from kdgym.envs.feedback.tutoring import tutoring_env

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}
IDS: dict[str, dict[str, Any]] = {
    ID: SMALL,
    "kdgym/DataGen-Math-SkillTree-v0": {**SMALL, "actions": "discrete"},
    "kdgym/Feedback-Math-v0": {**SMALL, "budget": 3000.0},
    "kdgym/Orchestrate-Math-v0": {"tasks": 3},
    "kdgym/Snapshot-CartPole-v0": {"steps": 3, "updates": 1, "validation_starts": 4},
    "kdgym/Classroom-Math-v0": SMALL,
}
GROUPS = {"budget": 960.0, "validation_items": 8, "max_cycles": 3, "reward": "log_loss"}


@pytest.mark.parametrize("id", list(IDS))
def test_an_id_is_an_environment(id: str) -> None:
    env = GymEnv(id, **IDS[id])
    check_env_specs(env)
    rollout = env.rollout(6, break_when_any_done=False)
    assert rollout["next", "terminated"].flatten().tolist() == [False, False, True] * 2


def test_other_unknown_settings_stay_refused() -> None:
    with pytest.raises(TypeError, match=r"There is no setting 'stesp'\. Did you mean 'steps'"):
        GymEnv(ID, stesp=3)


def test_a_population_is_one_environment() -> None:
    twin: Any = gym.make_vec(ID, num_envs=3, autoreset="Disabled", **SMALL)
    env = GymWrapper(gym.make_vec(ID, num_envs=3, autoreset="Disabled", **SMALL))
    check_env_specs(env)
    env.set_seed(5)
    rollout = env.rollout(3, break_when_any_done=False)
    twin.reset(seed=5)
    twin.reset()  # seeding is a reset of its own
    for step in range(3):
        _, reward, *_ = twin.step(rollout["action"][:, step].numpy())
        assert np.allclose(rollout["next", "reward"][:, step, 0], reward, atol=1e-6)
    assert rollout["next", "done"][:, -1].all()


@pytest.mark.parametrize(
    ("made", "mask", "length"),
    [(parallel_env, False, 3), (turns_of_teachers, True, 9), (tutoring_env, True, 6)],
)
def test_several_agents(made: Any, mask: bool, length: int) -> None:
    env = PettingZooWrapper(made(**GROUPS), use_mask=mask)
    check_env_specs(env)
    rollout = env.rollout(length)
    assert rollout["next", "done"].flatten().tolist() == [False] * (length - 1) + [True]


def test_infos_reach_the_agents() -> None:
    env = PettingZooWrapper(parallel_env(**GROUPS))
    rollout = env.rollout(3)["next", "teacher"]
    own = torch.stack([rollout["info", f"gain/teacher_{i}"][:, 0] for i in range(3)], dim=1)
    assert own.abs().sum() > 0
    assert torch.allclose(own.mean(1), rollout["reward"].mean((1, 2)).to(own.dtype), atol=1e-5)
    assert (rollout["info", "cost/student_training/items"] > 0).all()
