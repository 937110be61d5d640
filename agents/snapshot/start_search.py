"""A rule for starts, found by search: a cluster's share depends on a weighted sum of its observations. The share of ordinary
starts and the horizon depend on the time passed and on the student's success.

Eleven numbers are searched by the cross-entropy method on training students: ``kdgym train kdgym/Snapshot-PointMaze-v0 --agent
start_search --out runs/start-search``. It starts from uniform shares and from short episodes that grow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats, Teacher
from kdgym.teaching.search import cross_entropy

FIRST = np.array([0, 0, 0, 0, 0, -2, 2, 0, -1, 2, 0], np.float64)
SPREAD = np.ones(len(FIRST))


def decide(action_space: Any, observation: dict[str, Floats], numbers: npt.NDArray[np.float64]) -> Floats:
    """Actions of S students by their numbers [S, 11]: five for clusters, three for ordinary starts, three for the horizon."""
    success, passed = observation["success"].astype(float), 1 - observation["time"].astype(float)
    position = np.broadcast_to(np.linspace(0, 1, success.shape[1]), success.shape)
    of_cluster = [success, 4 * success * (1 - success), position, observation["gap"], observation["error"]]
    preference = np.einsum("fsc,sf->sc", np.stack(of_cluster), numbers[:, :5])
    one = np.ones_like(passed)
    ordinary = np.concatenate([one, passed, observation["score"]], axis=1)
    progress = np.concatenate([one, passed, success.mean(1, keepdims=True)], axis=1)
    share, reach = (
        _logistic((inputs * part).sum(1)) for inputs, part in ((ordinary, numbers[:, 5:8]), (progress, numbers[:, 8:]))
    )
    horizon = action_space.shortest * (action_space.limit / action_space.shortest) ** reach
    weights = np.exp(preference - preference.max(1, keepdims=True))
    return np.asarray(action_space.encode(weights, ordinary=share, horizon=horizon))


def _logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x.clip(-30, 30))))


class Agent(Teacher):
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.numbers = FIRST

    def load(self, path: Path) -> None:
        """Use the numbers of a search."""
        self.numbers = np.array(json.loads(path.read_text())["numbers"])

    def act(self, observation: dict[str, Floats]) -> Floats:
        return decide(self.action_space, observation, np.tile(self.numbers, (len(observation["time"]), 1)))


def train(
    env_id: str,
    steps: int,
    out: Path,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Search the numbers on training students; returns the file they are in."""
    mean, done = cross_entropy(
        env_id, decide, FIRST, SPREAD, steps, least=0.05, seed=seed, report=report, settings=settings
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "numbers.json"
    path.write_text(json.dumps({"numbers": mean.tolist(), "steps": done}, indent=2) + "\n")
    return path
