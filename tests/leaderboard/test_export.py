"""Records as Minari data sets, read with Minari's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.integrations.minari import export_minari
from kdgym.leaderboard.submit import make_record

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


@pytest.mark.parametrize(
    ("env_id", "agent"),
    [
        ("kdgym/DataGen-Math-v0", "target_proportional"),
        pytest.param("kdgym/Orchestrate-Math-v0", "atlas", marks=pytest.mark.thorough),
        ("kdgym/DataGen-Math-OpenEnded-v0", "copy_errors"),
    ],
)
def test_a_recorded_lesson_is_what_happened(env_id: str, agent: str) -> None:
    """Minari's own environment of the data set, taught by the data set's actions, earns the data set's rewards."""
    record = make_record(env_id, agent, agent, ["kdgym"])
    export_minari([record], "test/lessons-v0")
    data: Any = minari.load_dataset("test/lessons-v0")
    assert data.total_episodes == len(record.outcome.seeds)
    episode = data[1]
    env: Any = gym.make(env_id, pool="evaluation")
    seen, _ = env.reset(seed=record.outcome.seeds[1])
    for step, action in enumerate(episode.actions):
        if isinstance(seen, dict):
            for key in seen:
                np.testing.assert_array_equal(episode.observations[key][step], seen[key])
        else:
            assert episode.observations[step] == seen
        seen, reward, terminated, *_ = env.step(action)
        assert reward == episode.rewards[step]
        assert terminated == episode.terminations[step]
    assert terminated
    if "DataGen" in env_id:  # whose rewards add up to what was learned
        assert sum(episode.rewards) == pytest.approx(record.outcome.curve[1][-1] - record.outcome.curve[1][0], abs=1e-6)


@pytest.mark.thorough
def test_the_command_joins_records_of_one_board_and_no_others(tmp_path: Path) -> None:
    files = []
    for name in ("uniform", "random", "no teaching"):
        record = make_record("kdgym/DataGen-Math-v0", name, name, ["kdgym"])
        files.append(str(tmp_path / record.file_name()))
        record.save(Path(files[-1]))
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["export", "minari", *files, "--dataset", "test/all-v0"])
    assert done.exit_code == 0, done.output
    assert "6 lessons, 72 steps: minari.load_dataset('test/all-v0')" in done.output
    assert {int(episode.infos["record"][0]) for episode in minari.load_dataset("test/all-v0")} == {0, 1}
    other = make_record("kdgym/Snapshot-PointMaze-v0", "s3rl", "s3rl", ["kdgym"])
    other.save(tmp_path / "other.json")
    command = ["export", "minari", files[0], str(tmp_path / "other.json"), "--dataset", "test/mixed-v0"]
    refused = CliRunner().invoke(app, command)
    assert "of one environment and one encoding" in str(refused.exception)
