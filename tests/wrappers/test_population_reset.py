"""Teachers in training start in the middle of an episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.integrations.sb3 import as_vec_env
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.wrappers import (
    SnapshotMismatchError,
    SnapshotReset,
    SnapshotStore,
    ValueClusters,
    VectorSnapshotReset,
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


def test_a_population_starts_where_the_sampler_says(store: SnapshotStore) -> None:
    rows = iter([4, None, 10, *[None] * 99])
    envs = VectorSnapshotReset(population(3), store, lambda _: next(rows))
    seen, info = envs.reset(seed=1)
    assert info["snapshot"].tolist() == [4, -1, 10]
    np.testing.assert_allclose(seen["time"][:, 0], [0.75, 1.0, 0.25])
    action = np.zeros(envs.action_space.shape, np.float32)  # type: ignore[arg-type]
    _, _, over, cut, info = envs.step(action)
    assert over.tolist() == [False, False, True]
    assert not cut.any()
    assert info["snapshot"].tolist() == [4, -1, -1]
    np.testing.assert_allclose(info["final_obs"][2]["time"], 0)


def test_ordinary_episodes_of_a_wrapped_population_are_those_without_the_wrapper(store: SnapshotStore) -> None:
    """After an episode from a snapshot a student goes on with its own next episode."""
    rows = iter([9, *[None] * 99])
    wrapped, plain = VectorSnapshotReset(population(1), store, lambda _: next(rows)), population(1)
    wrapped.reset(seed=3)
    plain.reset(seed=3)
    action = np.zeros(plain.action_space.shape, np.float32)
    seen = wrapped.step(action)[0]
    for _ in range(4):
        expected = plain.step(action)[0]
    for key in expected:
        np.testing.assert_array_equal(seen[key], expected[key])


def test_horizon_and_end_of_the_guided_phase_truncate(store: SnapshotStore) -> None:
    envs = VectorSnapshotReset(population(2), store, lambda _: 0, horizon=2, until_step=10)
    envs.reset(seed=0)
    action = np.tile(np.linspace(-1, 1, 56, dtype=np.float32), (2, 1))
    ends = [envs.step(action) for _ in range(9)]
    assert [end[3].tolist() for end in ends[:5]] == [[False] * 2, [True] * 2, [False] * 2, [True] * 2, [True] * 2]
    assert not any(end[3].any() for end in ends[5:])
    assert [end[2].all() for end in ends[5:]] == [False, False, False, True]
    cut = ends[1][4]
    assert cut["_final_obs"].all()
    np.testing.assert_allclose(cut["final_obs"][0]["time"], 0.5)
    spent = cut["final_info"]["cost"]["data_engine"]["money"]
    assert (spent > 0).all()
    assert not cut["cost"]["data_engine"]["money"].any()


def test_sb3_learns_on_episodes_that_start_in_the_middle(store: SnapshotStore) -> None:
    envs = VectorSnapshotReset(population(4), store, ValueClusters(store, 2), horizon=2, until_step=16)
    model = PPO(SharedPolicy, as_vec_env(envs), seed=0, n_steps=4, batch_size=8, n_epochs=1)
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(32)
    assert any((p != q).any() for p, q in zip(model.policy.parameters(), before, strict=True))


def test_equal_seeds_start_alike(store: SnapshotStore) -> None:
    starts = [VectorSnapshotReset(population(6), store).reset(seed=s)[1]["snapshot"].tolist() for s in (2, 2, 3)]
    assert starts[0] == starts[1] != starts[2]


def test_snapshots_of_other_settings_are_refused_by_what_differs(store: SnapshotStore) -> None:
    with pytest.raises(
        SnapshotMismatchError, match=r"\{'budget': 160.0\}, but this environment has \{'budget': 320.0\}"
    ):
        VectorSnapshotReset(population(1, budget=320), store)
    with pytest.raises(SnapshotMismatchError, match="DataGen-Code"):
        VectorSnapshotReset(gym.make_vec("kdgym/DataGen-Code-v0", num_envs=1), store)
    with pytest.raises(TypeError, match="use SnapshotReset as a wrapper of each"):
        VectorSnapshotReset(gym.make_vec("CartPole-v1", num_envs=1), store)
    with pytest.raises(TypeError, match="with autoreset"):
        VectorSnapshotReset(population(1, autoreset=False), store)
    with pytest.raises(ValueError, match="horizon is 0"):
        VectorSnapshotReset(population(1), store, horizon=0)


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
