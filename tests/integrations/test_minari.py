"""Minari data sets as snapshots, recorded and read with Minari's own tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from minari import DataCollector, MinariDataset, StepDataCallback
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.integrations.minari import RecordStates, read_minari
from kdgym.wrappers import SnapshotReset, SnapshotStore

pytestmark = pytest.mark.slow


class RecordPositions(StepDataCallback):  # type: ignore[misc]
    """As in the data sets that come from D4RL."""

    def __call__(self, env: Any, obs: Any, info: dict[str, Any], *rest: Any, **named: Any) -> Any:
        data = env.unwrapped.data
        return super().__call__(env, obs, {"qpos": data.qpos.copy(), "qvel": data.qvel.copy()}, *rest, **named)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def recorded(id: str, callback: type[StepDataCallback], name: str, episodes: int = 2) -> MinariDataset:
    env = DataCollector(gym.make(id), step_data_callback=callback, record_infos=True)
    env.action_space.seed(0)
    for episode in range(episodes):
        env.reset(seed=episode)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            over = terminated or truncated
    return env.create_dataset(
        name,
        id,
        algorithm_name="random",
        author="kdgym",
        author_email="-",
        code_permalink="-",
        description="random actions",
    )


@pytest.mark.parametrize("id", ["Pendulum-v1", "Hopper-v5", "Acrobot-v1"])
def test_practice_starts_bitwise_on_a_recorded_trajectory(id: str) -> None:
    """From the second snapshot of the file, with the recorded actions, the recorded observations come again."""
    recorded(id, RecordStates, "test/states-v0")
    data = minari.load_dataset("test/states-v0")
    store = read_minari("test/states-v0", every=3)
    episode = data[0]
    env = SnapshotReset(gym.make(id), store, lambda _: 1)
    seen, _ = env.reset(seed=0)
    np.testing.assert_array_equal(seen, episode.observations[3])
    for step in range(3, min(40, len(episode))):
        seen, reward, *_ = env.step(episode.actions[step])
        np.testing.assert_array_equal(seen, episode.observations[step + 1])
        assert reward == episode.rewards[step]


def test_positions_and_velocities_are_enough() -> None:
    recorded("Hopper-v5", RecordPositions, "test/positions-v0")
    store = read_minari("test/positions-v0", every=2)
    seen, _ = SnapshotReset(gym.make("Hopper-v5"), store, lambda _: 1).reset(seed=0)
    np.testing.assert_allclose(seen, minari.load_dataset("test/positions-v0")[0].observations[2])


def test_values_are_returns_to_go_and_steps_are_counted() -> None:
    data = recorded("Pendulum-v1", RecordStates, "test/values-v0", episodes=3)
    store = read_minari(data, episodes=2, every=50, discount=0.9)
    rewards = data[1].rewards
    expected = sum(0.9**later * reward for later, reward in enumerate(rewards[50:]))
    assert store.value[5] == pytest.approx(expected)
    assert store.provenance["environment_steps"] == 400
    assert store.provenance["policy"] == "test/values-v0"
    assert store.episode.tolist() == [0] * 4 + [1] * 4


def test_data_without_states_are_refused_by_what_they_have() -> None:
    recorded("Pendulum-v1", StepDataCallback, "test/nothing-v0")
    with pytest.raises(ValueError, match=r"test/nothing-v0 records no states: its infos are \[\]"):
        read_minari("test/nothing-v0")
    with pytest.raises(ValueError, match="every is 0"):
        read_minari("test/nothing-v0", every=0)
    with pytest.raises(FileNotFoundError):
        read_minari("test/none-v0")


def test_the_command_reads_data_and_refuses_those_of_another_environment(tmp_path: Path) -> None:
    recorded("Pendulum-v1", RecordStates, "test/command-v0")
    out = tmp_path / "snapshots.safetensors"
    arguments = ["--minari", "test/command-v0", "--out", str(out), "--episodes", "2"]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["snapshots", "collect", "Pendulum-v1", *arguments])
    assert done.exit_code == 0, done.output
    assert "value band" in done.output
    assert len(SnapshotStore.load(out)) == 40
    out.unlink()
    refused = CliRunner().invoke(app, ["snapshots", "collect", "Acrobot-v1", *arguments])
    assert "taken with env_id 'Pendulum-v1', but this environment has 'Acrobot-v1'" in str(refused.exception)
    assert not out.exists()
