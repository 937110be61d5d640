"""A stopped training run goes on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.save_util import load_from_zip_file

import kdgym  # noqa: F401  # registers the environments
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.teaching.sb3_training import train_on_policy

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def build(vec_env: Any, seed: int) -> PPO:
    return PPO(SharedPolicy, vec_env, seed=seed, n_steps=3, batch_size=6)


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


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(tmp_path, seed=2)


def test_tensorboard_curves_are_written(tmp_path: Path) -> None:
    train(tmp_path)
    assert list((tmp_path / "tensorboard").glob("events*"))
