"""Teachers in training start in the middle of an episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.wrappers import (
    SnapshotReset,
    SnapshotStore,
    collect_population_snapshots,
)

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
SMALL = {"steps": 4, "budget": 160, "validation_items": 4, "reward": "log_loss"}


def population(number: int, **settings: Any) -> Any:
    return gym.make_vec(ID, num_envs=number, **{**SMALL, **settings})


@pytest.fixture(scope="module")
def store() -> SnapshotStore:
    envs = population(3, autoreset=False).unwrapped
    action = np.linspace(-1, 1, envs.action_space.shape[1], dtype=np.float32)
    return collect_population_snapshots(envs, lambda _: np.tile(action, (3, 1)), seed=5, policy="slope")


def test_a_store_survives_the_disk_with_its_provenance(store: SnapshotStore, tmp_path: Path) -> None:
    assert store.step.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert store.provenance["environment_steps"] == 12
    store.save(tmp_path / "s.safetensors")
    again = SnapshotStore.load(tmp_path / "s.safetensors")
    np.testing.assert_array_equal(again.state, store.state)
    assert again.provenance == store.provenance


def test_values_are_the_return_of_the_rest_of_the_episode(store: SnapshotStore) -> None:
    envs = population(3, autoreset=False).unwrapped
    envs.reset(seed=5)
    action = np.linspace(-1, 1, envs.action_space.shape[1], dtype=np.float32)
    rewards = np.array([envs.step(np.tile(action, (3, 1)))[1] for _ in range(4)])
    np.testing.assert_allclose(store.value.reshape(4, 3), np.cumsum(rewards[::-1], axis=0)[::-1], atol=1e-12)


def test_a_restored_episode_goes_on_as_the_original_with_the_same_random_streams(store: SnapshotStore) -> None:
    """The same seed and the teacher's own actions, from its third step on: bit for bit the original."""
    original, restored = gym.make(ID, **SMALL), SnapshotReset(gym.make(ID, **SMALL), store, lambda _: 6)
    action = np.linspace(-1, 1, original.action_space.shape[0], dtype=np.float32)
    original.reset(seed=5)
    for _ in range(2):
        seen, *_ = original.step(action)
    start, info = restored.reset(seed=5)
    assert info["snapshot"] == 6
    for _ in range(2):
        for key in seen:
            np.testing.assert_array_equal(start[key], seen[key])
        seen, reward, over, *_ = original.step(action)
        start, got, ended, *_ = restored.step(action)
        assert (got, ended) == (reward, over)
    assert ended


def test_another_seed_is_other_luck(store: SnapshotStore) -> None:
    env = SnapshotReset(gym.make(ID, **SMALL), store, lambda _: 6)
    action = np.linspace(-1, 1, 56, dtype=np.float32)
    seen = []
    for seed in (5, 6):
        first, _ = env.reset(seed=seed)
        after, *_ = env.step(action)
        seen.append((first, after))
    np.testing.assert_array_equal(seen[0][0]["loss"], seen[1][0]["loss"])
    assert (seen[0][1]["loss"] != seen[1][1]["loss"]).any()


def test_the_command_collects_from_an_agents_episodes(tmp_path: Path) -> None:
    file = tmp_path / "lessons.safetensors"
    small = [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]
    arguments = [ID, "--agent", "target_proportional", "--out", str(file), "--episodes", "3", "--every", "2", *small]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["snapshots", "collect", *arguments])
    assert done.exit_code == 0, done.output
    assert "value band" in done.output
    store = SnapshotStore.load(file)
    assert store.provenance["policy"] == "target_proportional"
    assert store.step.tolist() == [0] * 3 + [2] * 3
    refused = CliRunner().invoke(app, ["snapshots", "collect", ID, "--out", str(file)])
    assert "Give exactly one of --policy, --agent, --minari" in str(refused.exception)
