"""Files of snapshots, and which one is drawn."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, TD3
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.storage import CorruptFileError, save_tensors
from kdgym.wrappers import SnapshotReset, SnapshotStore, ValueClusters, collect_snapshots, sb3_policy


def small(values: list[float]) -> SnapshotStore:
    n = len(values)
    return SnapshotStore(np.zeros((n, 2)), np.zeros((n, 3)), np.array(values), np.zeros(n, int), np.arange(n), {})


def test_a_store_survives_the_disk(tmp_path: Path) -> None:
    env = gym.make("CartPole-v1")
    env.action_space.seed(0)
    store = collect_snapshots(env, lambda _: env.action_space.sample(), episodes=2, policy="a random one")
    store.save(tmp_path / "s.safetensors")
    again = SnapshotStore.load(tmp_path / "s.safetensors")
    for name in ("state", "observation", "value", "episode", "step"):
        np.testing.assert_array_equal(getattr(again, name), getattr(store, name))
        assert getattr(again, name).dtype == getattr(store, name).dtype
    assert again.provenance == store.provenance
    assert again.provenance["policy"] == "a random one"
    assert SnapshotReset(gym.make("CartPole-v1"), again).reset(seed=0)[1]["snapshot"] >= 0


def test_collecting_counts_its_steps() -> None:
    store = collect_snapshots(gym.make("Pendulum-v1"), lambda _: np.zeros(1, np.float32), episodes=3, every=50)
    assert store.provenance["environment_steps"] == 600
    assert store.step.tolist() == [0, 50, 100, 150] * 3
    assert store.episode.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.isnan(store.value).all()


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    small([1.0, 2.0]).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="not a readable"):
        SnapshotStore.load(path)
    save_tensors(path, {"weights": torch.zeros(3)}, {"format": "something else"})
    with pytest.raises(CorruptFileError, match="holds no snapshots"):
        SnapshotStore.load(path)
    with pytest.raises(FileNotFoundError):
        SnapshotStore.load(tmp_path / "none")


def test_empty_and_ragged_stores_are_refused() -> None:
    with pytest.raises(ValueError, match="The store is empty"):
        small([])
    with pytest.raises(ValueError, match="one row a snapshot"):
        SnapshotStore(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(3), np.zeros(2, int), np.zeros(2, int))
    with pytest.raises(ValueError, match="episodes is 0"):
        collect_snapshots(gym.make("CartPole-v1"), lambda _: 0, episodes=0)


def test_clusters_are_bands_of_values_in_their_order() -> None:
    found = ValueClusters(small([10.0, 0.0, 0.1, 10.1, 5.0]), clusters=3)
    assert found.label.tolist() == [2, 0, 0, 2, 1]
    found.weights = [0, 1, 0]  # type: ignore[assignment]
    rng = np.random.default_rng(0)
    assert {found(rng) for _ in range(20)} == {4}
    assert ValueClusters(small([1.0, 1.0]), clusters=6).clusters == 1


@pytest.mark.parametrize("weights", [[1, 1], [0, 0, 0], [1, -1, 1], [1, np.nan, 1]])
def test_bad_weights_are_refused(weights: list[float]) -> None:
    found = ValueClusters(small([1.0, 5.0, 9.0]), clusters=3)
    with pytest.raises(ValueError, match="give 3 numbers >= 0"):
        found.weights = weights  # type: ignore[assignment]


def test_clusters_need_values() -> None:
    with pytest.raises(ValueError, match="have no value"):
        ValueClusters(small([1.0, np.nan]))
    with pytest.raises(ValueError, match="clusters is 0"):
        ValueClusters(small([1.0]), clusters=0)


@pytest.mark.parametrize(("algorithm", "id"), [(PPO, "CartPole-v1"), (DQN, "CartPole-v1"), (TD3, "Pendulum-v1")])
def test_sb3_models_say_what_a_state_is_worth(algorithm: type[PPO | DQN | TD3], id: str) -> None:
    env = gym.make(id)
    model = algorithm("MlpPolicy", env, seed=0, device="cpu")
    act, value = sb3_policy(model)
    store = collect_snapshots(env, act, value, episodes=1, every=2)
    assert np.isfinite(store.value).all()
    assert len(np.unique(store.value)) > 1


def test_the_command_collects_and_describes(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu").save(tmp_path / "teacher.zip")
    file = tmp_path / "snapshots.safetensors"
    arguments = ["CartPole-v1", "--policy", str(tmp_path / "teacher.zip"), "--out", str(file), "--episodes", "3"]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["snapshots", "collect", *arguments])
    assert done.exit_code == 0, done.output
    assert "CartPole-v1" in done.output
    assert "value band" in done.output
    assert SnapshotStore.load(file).provenance["policy"] == "teacher.zip"
