"""A linear rule for the lane, found by search: each lane's score is a weighted sum of features, and the highest is chosen.

The weights are searched by the cross-entropy method on training students, ``kdgym train kdgym/Orchestrate-Math-v0 --agent
lane_search --out runs/lane-search``. It starts from notes on similar kinds and writes when it supervises.
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


def decide(action_space: Any, observation: dict[str, Floats], weights: npt.NDArray[np.float64]) -> Floats:
    """Actions of S students by weights [S, lanes * FEATURES]."""
    lanes = np.array(action_space.choices["lane"])
    scores = np.einsum("slf,sf->sl", weights.reshape(len(weights), len(lanes), FEATURES), features(observation))
    lane = lanes[scores.argmax(1)]
    operation = np.where(lane == "auto", "keep", "write")
    return np.asarray(action_space.encode(len(lane), lane=lane, plan="similar", operation=operation))


class Agent(Teacher):
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.weights: npt.NDArray[np.float64] | None = None

    def load(self, path: Path) -> None:
        """Use the weights of a search."""
        self.weights = np.array(json.loads(path.read_text())["weights"])

    def act(self, observation: dict[str, Floats]) -> Floats:
        if self.weights is None:
            raise ValueError(
                "The lane_search agent has to be trained first: kdgym train ID --agent lane_search --out DIR, then "
                "lane_search:DIR/weights.json."
            )
        return decide(self.action_space, observation, np.tile(self.weights, (len(observation["time"]), 1)))


def train(
    env_id: str,
    steps: int,
    out: Path,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Search the weights on training students; returns the file they are in."""
    start = np.zeros((4, FEATURES))
    start[0, 0] = 1.0  # auto, unless the features favour another lane
    mean, done = cross_entropy(
        env_id,
        decide,
        start.ravel(),
        np.ones(start.size),
        steps,
        least=0.02,
        seed=seed,
        report=report,
        settings=settings,
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "weights.json"
    path.write_text(json.dumps({"weights": mean.tolist(), "steps": done}, indent=2) + "\n")
    return path
