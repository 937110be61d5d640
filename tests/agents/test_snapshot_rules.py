"""Teachers that choose where practice starts decide as their papers' rules say, on three clusters of snapshots."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kdgym.agents.snapshot.start_search import decide
from kdgym.envs.snapshot.moves import SnapshotMoves
from kdgym.evaluation import load_agent, teach
from tests.agents.rules import Observation, acts, alike, decisions, observed, teacher

LIMIT = 200
SPACE = SnapshotMoves(3, LIMIT)
SIZES = [10, 30, 60]
METADATA = {"clusters": [{"snapshots": size, "value": 0.0} for size in SIZES], "limit": LIMIT}
NOTHING = float(np.exp(-2 * SPACE.temperature))


def seen(**changes: Any) -> Observation:
    plain = {"success": [0.0] * 3, "visits": [0.0] * 3, "error": [0.1] * 3, "gap": [0.1] * 3, "change": [0.0] * 3}
    return observed(**{**plain, "score": 0.0, **changes})


def starts(agent: Any, observation: Observation) -> tuple[Any, float, float, bool]:
    """Shares of clusters, share of ordinary starts, horizon in steps, end of guidance."""
    decided = decisions(agent, SPACE, observation)
    horizon = SPACE.shortest * (LIMIT / SPACE.shortest) ** decided["horizon"]
    return [decided[f"cluster {c}"] for c in range(3)], decided["ordinary"], horizon, decided["end"] == 1


def close(weights: Any, ordinary: float = 0, horizon: float = LIMIT, end: bool = False) -> tuple[Any, ...]:
    """The same, to compare with; weights at any scale."""
    shares = np.maximum(np.array(weights, dtype=float), NOTHING * np.max(weights))
    near = [pytest.approx(value, rel=1e-3, abs=1e-6) for value in ((shares / shares.sum()).tolist(), ordinary, horizon)]
    return (*near, end)


EQUAL, BY_SIZE = [1, 1, 1], SIZES
# S3RL guides the first tenth of practice; episodes are cut at a tenth of the limit. Its parts lack one thing or both.
DECISIONS: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("ordinary_resets", {}, close(EQUAL, ordinary=1, end=True)),
    ("s3rl", {"time": 1}, close(EQUAL, horizon=20)),
    ("s3rl", {"time": 0.91}, close(EQUAL, horizon=20)),
    ("s3rl", {"time": 0.89}, close(EQUAL, horizon=20, end=True)),
    ("sc_only", {"time": 0.91}, close(EQUAL)),
    ("sc_only", {"time": 0.89}, close(EQUAL, end=True)),
    ("stt_only", {}, close(BY_SIZE, horizon=20)),
    ("uniform_snapshots", {"time": 0.91}, close(BY_SIZE)),
    ("uniform_snapshots", {"time": 0.89}, close(BY_SIZE, end=True)),
    ("s3rl_long", {"time": 0.34}, close(EQUAL, horizon=100)),
    ("s3rl_long", {"time": 0.33}, close(EQUAL, horizon=100, end=True)),
    # From the goal backwards: 0.6 of success in the highest cluster moves the start on to the next; 0.3 is review.
    ("reverse_curriculum", {"success": [0, 0, 0]}, close([0, 0, 1], ordinary=0.1)),
    ("reverse_curriculum", {"success": [0.1, 0.2, 0.6]}, close([0, 1, 0.1], ordinary=0.1)),
    ("reverse_curriculum", {"success": [0.1, 0.7, 0.9]}, close([1, 0.1, 0.1], ordinary=0.1)),
    ("reverse_curriculum", {"success": [0.9, 0.1, 0.9]}, close([0, 1, 0.1], ordinary=0.1)),
    ("reverse_curriculum", {"success": [0.9, 0.9, 0.59]}, close([0, 0, 1], ordinary=0.1)),
    ("reverse_curriculum", {"success": [0.7, 0.7, 0.7]}, close(EQUAL, ordinary=0.8)),
]


@pytest.mark.parametrize(("name", "changes", "expected"), DECISIONS)
def test_starts(name: str, changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    observation = seen(**changes)
    assert starts(teacher(name, SPACE, observation, METADATA), observation) == expected


def test_episodes_are_not_cut_shorter_than_can_be() -> None:
    short = SnapshotMoves(3, 30)
    agent = teacher("s3rl", short, seen(), {**METADATA, "limit": 30})
    assert decisions(agent, short, seen())["horizon"] == 0


def test_plr_ranks_errors_and_adds_what_was_not_visited_for_long() -> None:
    """Scores (1 / rank) ** 2 weigh 0.8, steps since the last visit 0.2; the critic errs most in the second cluster."""
    agent = teacher("plr", SPACE, seen())
    score = np.array([1 / 9, 1, 1 / 4]) / (1 + 1 / 9 + 1 / 4)
    visits = [([0.5, 0.5, 0], [1, 1, 2]), ([0.7, 0.5, 0], [1, 2, 3]), ([0.7, 0.6, 0], [2, 1, 4])]
    for visited, waited in visits:
        expected = 0.8 * score + 0.2 * np.array(waited) / sum(waited)
        assert starts(agent, seen(error=[0.1, 0.4, 0.2], visits=visited)) == close(expected, ordinary=0.2)
    agent.reset(seen())
    expected = 0.8 * score[[1, 0, 2]] + 0.2 / 3
    assert starts(agent, seen(error=[0.4, 0.1, 0.2])) == close(expected, ordinary=0.2)


def test_rules_that_go_by_success_are_constants_on_cartpole() -> None:
    """A step is shorter than an episode there: all that end in it are falls, so no cluster ever succeeds."""
    envs: Any = gym.make_vec("kdgym/Snapshot-CartPole-v0", num_envs=2, autoreset=False, steps=3)
    for name in ("reverse_curriculum", "learning_progress"):
        _, actions = teach(envs, load_agent(name, envs), 0)
        assert envs.score().mean() > 0.3  # though students do learn
        assert np.ptp(actions, axis=(0, 1)).max() < 1e-6


def test_learning_progress_is_of_success_from_a_cluster() -> None:
    agent = teacher("learning_progress", SPACE, seen())
    progress = np.array([0.121, 0.001, 0.061])  # three tenths of the change, whichever way, and 0.001
    expected = 0.8 * progress / progress.sum() + 0.2 / 3
    assert starts(agent, seen(change=[0.4, 0, -0.2])) == close(expected)


# Numbers of success, of 4 success (1 - success), of place, gap and error; of a constant, time passed and score for ordinary
# starts; of a constant, time passed and mean success for the horizon.
SEARCHED: list[tuple[dict[int, float], dict[str, Any], tuple[Any, ...]]] = [
    ({}, {}, close(EQUAL, ordinary=0.5, horizon=5 * 40**0.5)),
    ({0: 2}, {"success": [0, 0.5, 1]}, close(np.exp([0, 1, 2]), 0.5, 5 * 40**0.5)),
    ({1: 2}, {"success": [0, 0.5, 1]}, close(np.exp([0, 2, 0]), 0.5, 5 * 40**0.5)),
    ({2: 2}, {}, close(np.exp([0, 1, 2]), 0.5, 5 * 40**0.5)),
    ({3: 2}, {"gap": [0.5, -0.5, 0]}, close(np.exp([1, -1, 0]), 0.5, 5 * 40**0.5)),
    ({4: 2}, {"error": [0.5, 1, 0]}, close(np.exp([1, 2, 0]), 0.5, 5 * 40**0.5)),
    ({5: np.log(3)}, {}, close(EQUAL, 0.75, 5 * 40**0.5)),
    ({6: np.log(9)}, {"time": 0.5}, close(EQUAL, 0.75, 5 * 40**0.5)),
    ({7: -np.log(9)}, {"score": 0.5}, close(EQUAL, 0.25, 5 * 40**0.5)),
    ({8: np.log(3)}, {}, close(EQUAL, 0.5, 5 * 40**0.75)),
    ({9: np.log(9)}, {"time": 0.5}, close(EQUAL, 0.5, 5 * 40**0.75)),
    ({10: -np.log(3) / 0.5}, {"success": [0, 0.5, 1]}, close(np.ones(3), 0.5, 5 * 40**0.25)),
]


@pytest.mark.parametrize(("numbers", "changes", "expected"), SEARCHED)
def test_searched_starts(numbers: dict[int, float], changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    row = np.zeros((1, 11))
    row[0, list(numbers)] = list(numbers.values())
    observation = seen(**changes)

    class Searched:
        def act(self, observation: Observation) -> np.ndarray:
            return decide(SPACE, observation, row)

    assert starts(Searched(), observation) == expected


def test_the_search_begins_at_uniform_clusters_and_grows_ordinary_starts_and_horizons_with_time() -> None:
    agent = teacher("start_search", SPACE, seen())
    early, late = starts(agent, seen(time=1)), starts(agent, seen(time=0.2))
    assert early[0] == late[0] == pytest.approx([1 / 3] * 3)
    assert early[1] < late[1] and early[2] < late[2]


def test_random_starts_fill_the_box() -> None:
    many = alike(seen(), 300)
    action = acts(teacher("random", SPACE, many, seed=0), SPACE, many)
    assert action.min() < -0.98 and action.max() > 0.98 and abs(action.mean()) < 0.1
