"""Tianshou collects from the environments with their infos, and its PPO trains."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FlattenObservation
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.continuous import ContinuousActorProbabilistic, ContinuousCritic
from torch.distributions import Distribution, Independent, Normal

import kdgym  # noqa: F401  # registers the environments


def make() -> Any:
    return FlattenObservation(
        gym.make("kdgym/DataGen-Math-v0", steps=3, budget=96.0, validation_items=8, reward="log_loss")
    )


def gaussian(parameters: Any) -> Distribution:
    return Independent(Normal(*parameters), 1)


def test_ppo_collects_and_trains() -> None:
    seen, acted = make().observation_space, make().action_space
    assert seen.shape is not None and acted.shape is not None
    body, other = (Net(state_shape=seen.shape, hidden_sizes=[8]) for _ in range(2))
    actor = ContinuousActorProbabilistic(preprocess_net=body, action_shape=acted.shape, unbounded=True)
    critic = ContinuousCritic(preprocess_net=other)
    policy = ProbabilisticActorPolicy(
        actor=actor, dist_fn=gaussian, action_space=acted, action_scaling=True, action_bound_method="clip"
    )
    ppo = PPO(policy=policy, critic=critic, optim=AdamOptimizerFactory(lr=1e-3))
    collector: Any = Collector(ppo, DummyVectorEnv([make, make]), VectorReplayBuffer(24, 2))
    collector.reset()
    collected = collector.collect(n_episode=4)
    assert collected.lens.tolist() == [3] * 4
    assert (collector.buffer.info[:6]["cost/data_engine/items"] > 0).all()
    before = [parameter.clone() for parameter in actor.parameters()]
    collector.reset()
    plan = OnPolicyTrainerParams(
        training_collector=collector,
        test_collector=None,
        max_epochs=1,
        epoch_num_steps=12,
        collection_step_num_env_steps=12,
        update_step_num_repetitions=1,
        batch_size=6,
    )
    ppo.run_training(plan)
    assert any(not old.equal(new) for old, new in zip(before, actor.parameters(), strict=True))
