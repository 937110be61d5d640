"""skrl takes single environments and classrooms as they are, and populations by the name of their interface."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch
from skrl.agents.torch.ppo import PPO
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
from skrl.trainers.torch import SequentialTrainer
from torch import nn

import kdgym  # noqa: F401  # registers the environments
from kdgym.envs.classroom.classroom import parallel_env

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


class Policy(GaussianMixin, Model):  # type: ignore[misc]  # as far as mypy knows
    def __init__(self, env: Any) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device=env.device)
        GaussianMixin.__init__(self, clip_actions=True)  # without it skrl leaves the action space
        self.mean = nn.Linear(self.num_observations, self.num_actions)
        self.log_std = nn.Parameter(torch.zeros(self.num_actions))

    def compute(self, inputs: Any, role: str = "") -> Any:
        return self.mean(inputs["observations"]), {"log_std": self.log_std}


class Value(DeterministicMixin, Model):  # type: ignore[misc]
    def __init__(self, env: Any) -> None:
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device=env.device)
        DeterministicMixin.__init__(self)
        self.value = nn.Linear(self.num_observations, 1)

    def compute(self, inputs: Any, role: str = "") -> Any:
        return self.value(inputs["observations"]), {}


@pytest.mark.parametrize("students", [None, 4])
def test_ppo_trains(students: int | None) -> None:
    """As docs/integrations.md says: a population needs ``wrapper="gymnasium"``."""
    made = gym.make(ID, **SMALL) if students is None else gym.make_vec(ID, num_envs=students, **SMALL)
    env = wrap_env(made, wrapper="auto" if students is None else "gymnasium")
    models = {"policy": Policy(env), "value": Value(env)}
    before = models["policy"].mean.weight.clone()
    quiet = {"write_interval": 0, "checkpoint_interval": 0}
    agent = PPO(
        models=models,
        memory=RandomMemory(memory_size=3, num_envs=students or 1, device="cpu"),
        cfg={"rollouts": 3, "learning_epochs": 1, "mini_batches": 1, "experiment": quiet},
        observation_space=env.observation_space,
        action_space=env.action_space,
        device="cpu",
    )
    plan = {"timesteps": 7, "headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    SequentialTrainer(env=env, agents=agent, cfg=plan).train()
    assert not models["policy"].mean.weight.equal(before)


def test_classrooms_are_recognised() -> None:
    env = wrap_env(parallel_env(max_cycles=3, budget=96.0, validation_items=8))
    observations, infos = env.reset()
    actions = {agent: torch.zeros(1, *env.action_space(agent).shape) for agent in observations}
    rewards = env.step(actions)[1]
    assert set(rewards) == set(infos) == {"teacher_0", "teacher_1", "teacher_2"}
