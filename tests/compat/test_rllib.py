"""RLlib trains on populations, and what it records of an episode is what happened in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

import kdgym  # noqa: F401  # registers the environments
from kdgym.envs.classroom.classroom import parallel_env
from kdgym.integrations.rllib import register_with_rllib
from kdgym.wrappers import collect_snapshots, s3rl

# RLlib registers its environment anew with every algorithm, and Gymnasium says so.
pytestmark = pytest.mark.filterwarnings("ignore:.*Overriding environment rllib:UserWarning")

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def lesson(n: int, students: int = 3) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, students, 56)).astype(np.float32)


def unflatten(flat: np.ndarray) -> dict[str, np.ndarray]:
    """What RLlib's FlattenObservations joined, in alphabetical order."""
    space = gym.make(ID, **SMALL).observation_space
    assert isinstance(space, gym.spaces.Dict)
    names = sorted(space.spaces)
    sizes = [int(np.prod(space[name].shape)) for name in names]
    return dict(zip(names, np.split(flat, np.cumsum(sizes)[:-1]), strict=True))


def ppo(mode: str, runners: int) -> Any:
    """PPO as small as it gets, on three students an env runner."""
    return (
        PPOConfig()
        .environment(register_with_rllib(ID), env_config=SMALL)
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=3,
            gym_env_vectorize_mode=mode,
            rollout_fragment_length=6,
            env_to_module_connector=lambda env, spaces, device: FlattenObservations(),
        )
        .training(train_batch_size=18, minibatch_size=9, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=0)
        .build_algo()
    )


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "runners"), [("vector_entry_point", 1), ("vector_entry_point", 0), ("sync", 0)])
def test_ppo_trains(cluster: None, mode: str, runners: int) -> None:
    algorithm = ppo(mode, runners)
    before = algorithm.get_module().get_state()
    for _ in range(2):
        result = algorithm.train()["env_runners"]
        assert result["num_env_steps_sampled"] == 18
        assert result["num_episodes"] == 6
        assert result["episode_len_mean"] == 3
    after = algorithm.get_module().get_state()
    assert any(not np.array_equal(before[key], after[key]) for key in before)
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["vector_entry_point", "sync"])
def test_rewards_of_a_recorded_episode_are_what_its_observations_show(cluster: None, mode: str) -> None:
    algorithm = ppo(mode, 0)
    algorithm.env_runner.sample(num_timesteps=9)
    episodes = [e for e in algorithm.env_runner.sample(num_timesteps=18) if e.is_done]
    assert len(episodes) == 6
    for episode in episodes:
        first, *_, last = (unflatten(flat) for flat in episode.get_observations())
        assert np.array_equal(first["target"], last["target"])
        assert [first["time"][0], last["time"][0]] == [1, 0]
        learned = float(first["target"] @ (last["accuracy"] - first["accuracy"]))
        assert sum(episode.get_rewards()) == pytest.approx(learned, abs=1e-5)
    algorithm.stop()


@pytest.mark.slow
def test_what_the_page_says_runs(cluster: None) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ray.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, {})


def test_rllib_trains_the_teachers_of_a_classroom(cluster: None) -> None:
    """As in docs/classroom.md: several agents, one shared policy, through RLlib's own wrapper of PettingZoo."""
    tune.register_env("classroom", lambda config: ParallelPettingZooEnv(parallel_env(**config)))
    algorithm = (
        PPOConfig()
        .environment("classroom", env_config={"max_cycles": 3, "budget": 96.0, "validation_items": 8})
        .multi_agent(policies={"teacher"}, policy_mapping_fn=lambda agent, *_, **__: "teacher")
        .env_runners(num_env_runners=0)
        .training(train_batch_size=6, minibatch_size=6, num_epochs=1)
        .build_algo()
    )
    result = algorithm.train()
    algorithm.stop()
    assert result["env_runners"]["num_episodes"] >= 1
    assert set(result["env_runners"]["agent_episode_returns_mean"]) == {"teacher_0", "teacher_1", "teacher_2"}


@pytest.mark.slow
def test_ppo_practises_from_snapshots(cluster: None) -> None:
    """The wrapper goes into the function that makes the environment, and nothing else changes."""
    env = gym.make("CartPole-v1")
    env.action_space.seed(0)
    store = collect_snapshots(env, lambda _: env.action_space.sample(), lambda seen, _: float(seen[0]), seed=3)
    tune.register_env("guided", lambda _: s3rl(gym.make("CartPole-v1"), store, horizon=4))
    runners = {"num_env_runners": 0, "num_envs_per_env_runner": 2, "rollout_fragment_length": 32}
    training = {"train_batch_size": 64, "minibatch_size": 32, "num_epochs": 1}
    config = PPOConfig().environment("guided").env_runners(**runners).training(**training).debugging(seed=0)
    algorithm = config.rl_module(model_config={"fcnet_hiddens": [16]}).build_algo()
    result = algorithm.train()["env_runners"]
    assert result["num_env_steps_sampled"] == 64
    assert result["episode_len_max"] <= 4
    algorithm.stop()
