"""A stopped training run goes on as if nothing had happened."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.save_util import load_from_zip_file

import kdgym  # noqa: F401  # registers the environments
from kdgym.agents.datagen import ppo
from kdgym.evaluation import load_agent
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.teaching.sb3 import SB3Teacher
from kdgym.teaching.sb3_training import train_on_policy

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def build(vec_env: Any, seed: int) -> PPO:
    return PPO(SharedPolicy, vec_env, seed=seed, n_steps=4, batch_size=8)  # rollouts end in the middle of episodes


def train(out: Path, stop_after: int | None = None, **changes: Any) -> Path:
    calls = []

    def report(done: int, text: str) -> None:
        calls.append((done, text))
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {"seed": 1, "num_envs": 4, **changes}
    return train_on_policy(build, ID, 60, out, report=report, checkpoint_every=2, settings=SMALL, **arguments)


def parameters(path: Path) -> dict[str, torch.Tensor]:
    _, loaded, _ = load_from_zip_file(path, load_data=False)
    policy: dict[str, torch.Tensor] = loaded["policy"]
    return policy


def test_an_interrupted_run_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    undisturbed = parameters(train(tmp_path / "a"))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", stop_after=4)
    assert not (tmp_path / "b" / "model.zip").exists()
    torch.rand(7)  # whatever else the process draws in between
    resumed = parameters(train(tmp_path / "b"))
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = parameters(train(tmp_path))
    second = parameters(train(tmp_path))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("change", [{"seed": 2}, {"hyperparameters": {"gamma": 0.5}}])
def test_a_checkpoint_of_another_run_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(tmp_path, **change)


def test_hyper_parameters_come_on_top_of_the_teachers_own(tmp_path: Path) -> None:
    hyper = {"gamma": 0.25, "n_steps": 3, "width": 8, "students": 2, "log_std_init": -1.0}
    path = ppo.Agent.train(ID, 6, tmp_path, settings=SMALL, hyper=hyper)
    with zipfile.ZipFile(path) as archive:
        saved = json.loads(archive.read("data"))
    assert (saved["gamma"], saved["n_steps"], saved["n_envs"], saved["gae_lambda"]) == (0.25, 3, 2, 0.9)
    assert saved["policy_kwargs"] == {"net_arch": [8, 8], "log_std_init": -1.0}
    assert parameters(path)["mlp_extractor.score.weight"].shape[1] == 8
    envs: Any = gym.make_vec(ID, num_envs=2, **SMALL)
    agent = load_agent(f"ppo:{path}", envs)
    assert envs.action_space.contains(np.asarray(agent.act(envs.reset(seed=0)[0])))


@pytest.mark.parametrize(
    ("hyper", "message"),
    [
        ({"lr": 0.1}, "There is no hyper-parameter 'lr'.*Known hyper-parameters: learning_rate, gamma"),
        ({"gama": 0.1}, "There is no hyper-parameter 'gama'. Did you mean 'gamma'"),
        ({"gamma": 2}, "The hyper-parameter gamma=2 is refused: Input should be less than or equal to 1"),
        ({"n_steps": 0.5}, "The hyper-parameter n_steps=0.5 is refused"),
    ],
)
def test_bad_hyper_parameters_are_refused(hyper: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ppo.Agent.train(ID, 6, tmp_path, settings=SMALL, hyper=hyper)


def test_hyper_parameters_of_another_algorithm_are_refused(tmp_path: Path) -> None:
    class ByA2C(SB3Teacher):
        algorithm = A2C

    with pytest.raises(ValueError, match="A2C has no hyper-parameter clip_range; leave it out"):
        ByA2C.train(ID, 6, tmp_path, settings=SMALL, hyper={"clip_range": 0.2})


def test_tensorboard_curves_are_written(tmp_path: Path) -> None:
    train(tmp_path)
    assert list((tmp_path / "tensorboard").glob("events*"))
