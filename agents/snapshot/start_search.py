"""A rule for starts, found by search: a cluster's share depends on a weighted sum of its observations. The share of ordinary
starts and the horizon depend on the time passed and on the student's success.

Eleven numbers are searched by the cross-entropy method on training students: ``kdgym train kdgym/Snapshot-PointMaze-v0 --agent
start_search --out runs/start-search``. It starts from uniform shares and from short episodes that grow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats
from kdgym.teaching.search import Searched

FIRST = np.array([0, 0, 0, 0, 0, -2, 2, 0, -1, 2, 0], np.float64)


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


class Agent(Searched):
    mean, spread, least, file = FIRST, np.ones(len(FIRST)), 0.05, "numbers.json"
    numbers = FIRST
    decide = staticmethod(decide)
