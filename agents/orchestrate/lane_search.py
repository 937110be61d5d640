"""A linear rule for the lane, found by search: each lane's score is a weighted sum of features, and the highest is chosen.

The weights are searched by the cross-entropy method on training students, ``kdgym train kdgym/Orchestrate-Math-v0 --agent
lane_search --out runs/lane-search``. It starts from notes on similar kinds and writes when it supervises.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats
from kdgym.teaching.search import Searched

FEATURES = 8


def features(observation: dict[str, Floats]) -> npt.NDArray[np.float64]:
    """A constant, uncertainty, tasks of this kind, their score, the nearest note, its score, time and money left: [S, 8]."""
    columns = [
        observation["uncertainty"] * 4,  # mostly below a quarter
        observation["history"][:, :2],
        observation["memory"][:, 3:5],
        observation["time"],
        observation["budget"],
    ]
    return np.concatenate([np.ones((len(observation["time"]), 1)), *columns], axis=1).astype(np.float64)


def decide(action_space: Any, observation: dict[str, Floats], numbers: npt.NDArray[np.float64]) -> Floats:
    """Actions of S students by the weights of each, [S, lanes * FEATURES]."""
    lanes = np.array(action_space.choices["lane"])
    scores = np.einsum("slf,sf->sl", numbers.reshape(len(numbers), len(lanes), FEATURES), features(observation))
    lane = lanes[scores.argmax(1)]
    operation = np.where(lane == "auto", "keep", "write")
    return np.asarray(action_space.encode(len(lane), lane=lane, plan="similar", operation=operation))


class Agent(Searched):
    mean = np.concatenate([[1.0], np.zeros(4 * FEATURES - 1)])  # auto, unless the features favour another lane
    spread, least, file = np.ones(4 * FEATURES), 0.02, "weights.json"
    decide = staticmethod(decide)

    @classmethod
    def kept(cls, mean: npt.NDArray[np.float64]) -> dict[str, Any]:
        return {"weights": mean.tolist()}

    def load(self, path: Path) -> None:
        self.numbers = np.array(json.loads(path.read_text())["weights"])
