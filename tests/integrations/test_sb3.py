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
import torch
from sb3_contrib import ARS, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import kdgym  # noqa: F401  # registers the environments
from kdgym.integrations.sb3 import SB3Agent, as_vec_env
from kdgym.integrations.sb3_policies import MaskableSharedPolicy, SharedPolicy

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def make(num_envs: int = 4, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, **{**SMALL, **changes})


OPTIONS: dict[Any, dict[str, Any]] = {
    **{key: {"n_steps": 3, "batch_size": 6} for key in (PPO, RecurrentPPO, TRPO)},
    A2C: {"n_steps": 3},
    ARS: {"n_delta": 2},
    **{key: {"buffer_size": 200, "learning_starts": 8} for key in (SAC, TQC, TD3, DDPG, CrossQ)},
}


def model(algorithm: Any, policy: Any = "MultiInputPolicy", flatten: bool = False) -> Any:
    return algorithm(policy, as_vec_env(make(), flatten), seed=0, **OPTIONS[algorithm])


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
    wrapped = VecNormalize(as_vec_env(make()), norm_obs_keys=["loss"])
    PPO("MultiInputPolicy", wrapped, n_steps=3, batch_size=6).learn(12)


@pytest.mark.parametrize("flatten", [False, True])
def test_episodes_are_monitored(flatten: bool) -> None:
    vec, twin = as_vec_env(make(max_episode_steps=2), flatten), make(autoreset=False)
    vec.seed(3)
    vec.reset()
    twin.reset(seed=3)
    total = np.zeros(4)
    for step in range(4):
        action = np.random.default_rng(step).uniform(-1, 1, (4, 56)).astype(np.float32)
        _, _, done, infos = vec.step(action)
        if step < 2:
            total += twin.step(action)[1]
        assert done.all() == ("episode" in infos[0]) == (step % 2 == 1)
        if step == 1:
            assert [info["episode"]["r"] for info in infos] == pytest.approx(total)
    assert [info["episode"]["l"] for info in infos] == [2] * 4
    assert all(info["TimeLimit.truncated"] for info in infos)


def test_sb3_sees_the_returns_once_whoever_monitors() -> None:
    for vec in (as_vec_env(make()), VecNormalize(as_vec_env(make()), norm_obs_keys=["loss"])):
        teacher = PPO("MultiInputPolicy", vec, n_steps=6, batch_size=6).learn(24)
        assert len(teacher.ep_info_buffer or ()) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_policy(teacher, as_vec_env(make()), n_eval_episodes=4)
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        teacher = PPO("MultiInputPolicy", VecMonitor(as_vec_env(make())), n_steps=6, batch_size=6).learn(24)
    assert len(teacher.ep_info_buffer or ()) == 8


def test_flat_observations_are_those_of_gymnasiums_wrapper() -> None:
    vec, single = as_vec_env(make(1), flatten=True), gym.wrappers.FlattenObservation(gym.make(ID, **SMALL))
    vec.seed(5)
    assert vec.observation_space == single.observation_space
    assert np.array_equal(vec.reset()[0], single.reset(seed=5)[0])
    for step in range(3):
        action = np.random.default_rng(step).uniform(-1, 1, (1, 56)).astype(np.float32)
        observation, _, done, infos = vec.step(action)
        expected = single.step(action[0])[0]
        assert np.array_equal(infos[0]["terminal_observation"] if done[0] else observation[0], expected)


MULTI = "MultiInputPolicy"


@pytest.mark.parametrize(
    ("algorithm", "policy", "flatten"),
    [
        *[(algorithm, MULTI, False) for algorithm in (PPO, A2C, TRPO, SAC, TQC, TD3, DDPG)],
        (PPO, SharedPolicy, False),
        (RecurrentPPO, "MultiInputLstmPolicy", False),
        *[(algorithm, "MlpPolicy", True) for algorithm in (PPO, ARS, CrossQ)],
    ],
)
def test_a_saved_model_acts_the_same_and_is_never_unpickled(
    algorithm: Any, policy: Any, flatten: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, envs = model(algorithm, policy, flatten), make()
    teacher.save(tmp_path / "model.zip")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(cloudpickle, "loads", refuse)
    agent = SB3Agent.from_zip(tmp_path / "model.zip", envs.single_observation_space, envs.single_action_space)
    vec = as_vec_env(envs, flatten)
    for seed in range(2):  # two episodes: a memory does not outlive the first
        vec.seed(seed)
        seen, memory = vec.reset(), None
        agent.reset(envs.observe())
        for _ in range(2):
            action, memory = teacher.predict(seen, state=memory, deterministic=True)
            assert np.array_equal(agent.act(envs.observe()), np.clip(action, -1, 1))
            seen = vec.step(np.clip(action, -1, 1))[0]


def test_policies_that_only_pickle_can_read_are_refused(tmp_path: Path) -> None:
    for algorithm in (PPO, A2C):
        kwargs: dict[str, Any] = {"activation_fn": torch.nn.ReLU}
        algorithm(MULTI, as_vec_env(make()), n_steps=3, policy_kwargs=kwargs).save(tmp_path / "model.zip")
        envs = make()
        with pytest.raises(ValueError, match="policy_kwargs that only pickle can read"):
            SB3Agent.from_zip(tmp_path / "model.zip", envs.single_observation_space, envs.single_action_space)


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
