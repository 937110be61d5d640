"""Stable-Baselines3 on a population: the adapter, three algorithms, and models loaded without pickle."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import kdgym  # noqa: F401  # registers the environments
from kdgym.integrations.sb3 import SB3Agent, as_vec_env
from kdgym.integrations.sb3_policies import MaskableSharedPolicy, SharedPolicy

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def make(num_envs: int = 4, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, **{**SMALL, **changes})


def model(algorithm: Any, policy: Any = "MultiInputPolicy") -> Any:
    options: dict[str, Any] = (
        {"n_steps": 3, "batch_size": 6} if algorithm is PPO else {"buffer_size": 200, "learning_starts": 8}
    )
    return algorithm(policy, as_vec_env(make()), seed=0, **options)


def test_sb3s_own_check_passes_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ID, **SMALL).unwrapped)


def test_the_adapter_shows_what_the_population_shows() -> None:
    vec, twin = as_vec_env(make()), make(autoreset=False)
    vec.seed(3)
    first, (expected, _) = vec.reset(), twin.reset(seed=3)
    assert isinstance(first, dict)
    assert all(np.array_equal(first[key], expected[key]) for key in expected)
    for _ in range(3):
        action = np.random.default_rng(0).uniform(-1, 1, (4, 56)).astype(np.float32)
        observation, reward, done, infos = vec.step(action)
        final, twin_reward, terminated, *_ = twin.step(action)
        assert np.array_equal(reward, twin_reward.astype(np.float32))
        assert np.array_equal(done, terminated)
    assert done.all()
    for i, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is False
        assert all(np.array_equal(info["terminal_observation"][key], final[key][i]) for key in final)
    assert isinstance(observation, dict)
    assert observation["time"].tolist() == [[1.0]] * 4


def test_the_adapter_refuses_other_environments() -> None:
    with pytest.raises(TypeError, match="make_vec"):
        as_vec_env(gym.make_vec("CartPole-v1", num_envs=2))


def test_attributes_and_methods_reach_the_population() -> None:
    vec = as_vec_env(make())
    assert vec.get_attr("num_envs") == [4] * 4
    assert vec.env_is_wrapped(gym.Wrapper) == [False] * 4
    vec.seed(0)
    vec.reset()
    assert len(vec.env_method("ledger")) == 4
    with pytest.raises(ValueError, match="leave indices out"):
        vec.env_method("ledger", indices=[0])
    with pytest.raises(ValueError, match="leave indices out"):
        vec.set_attr("spec", None, indices=[0])


@pytest.mark.parametrize("algorithm", [PPO, SAC, TD3])
def test_algorithms_train_on_the_population(algorithm: Any) -> None:
    teacher = model(algorithm)
    before = {key: value.clone() for key, value in teacher.policy.state_dict().items()}
    teacher.learn(48)
    assert any(not value.equal(before[key]) for key, value in teacher.policy.state_dict().items())


def test_sb3_takes_the_single_environment_and_the_standard_wrappers() -> None:
    PPO("MultiInputPolicy", gym.make(ID, **SMALL), n_steps=6, batch_size=6).learn(6)
    wrapped = VecNormalize(VecMonitor(as_vec_env(make())), norm_obs_keys=["loss"])
    PPO("MultiInputPolicy", wrapped, n_steps=3, batch_size=6).learn(12)


@pytest.mark.parametrize(
    ("algorithm", "policy"),
    [(PPO, "MultiInputPolicy"), (SAC, "MultiInputPolicy"), (TD3, "MultiInputPolicy"), (PPO, SharedPolicy)],
)
def test_a_saved_model_acts_the_same_and_is_never_unpickled(
    algorithm: Any, policy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, envs = model(algorithm, policy), make()
    teacher.save(tmp_path / "model.zip")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(cloudpickle, "loads", refuse)
    agent = SB3Agent.from_zip(tmp_path / "model.zip", envs.single_observation_space, envs.single_action_space)
    observation, _ = envs.reset(seed=0)
    expected = np.clip(teacher.predict(observation, deterministic=True)[0], -1, 1)
    assert np.array_equal(agent.act(observation), expected)


@pytest.mark.parametrize("policy", ["MultiInputPolicy", MaskableSharedPolicy])
def test_a_saved_maskable_model_acts_the_same(policy: Any, tmp_path: Path) -> None:
    envs: Any = gym.make_vec("kdgym/DataGen-Math-SkillTree-v0", num_envs=4, actions="discrete", **SMALL)
    teacher = MaskablePPO(policy, as_vec_env(envs), n_steps=3, batch_size=6, seed=0)
    teacher.save(tmp_path / "model.zip")
    agent = SB3Agent.from_zip(tmp_path / "model.zip", envs.single_observation_space, envs.single_action_space)
    observation, _ = envs.reset(seed=0)
    masks = envs.action_masks()
    expected, _ = teacher.predict(observation, action_masks=masks, deterministic=True)
    assert np.array_equal(agent.act(observation, masks), expected)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    envs = make()
    spaces = (envs.single_observation_space, envs.single_action_space)
    (tmp_path / "text.zip").write_text("hello")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme", "nothing here")
    for name in ("text.zip", "empty.zip", "missing.zip"):
        with pytest.raises(ValueError, match="Stable-Baselines3 saved"):
            SB3Agent.from_zip(tmp_path / name, *spaces)


def test_a_model_for_other_spaces_is_refused(tmp_path: Path) -> None:
    model(PPO).save(tmp_path / "model.zip")
    other = make(sources=2)
    with pytest.raises(ValueError, match="does not fit"):
        SB3Agent.from_zip(tmp_path / "model.zip", other.single_observation_space, other.single_action_space)
