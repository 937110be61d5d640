"""Learned from counterfactuals: takes the lane with the highest predicted advantage for this kind of task and this student.

Training: at every task of training students, every lane is tried on a copy of the student, with equal random streams. A ridge
regression predicts each lane's advantage over the best fixed lane from the kind of task, the student's uncertainty, and the
student's identity. Identity is not observed: streams in which two kinds of tasks have equal uncertainties are taken for the
same student's. In an episode, a student is recognised at the first such task; unknown students are judged by kinds of tasks
alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr

from kdgym.teaching import Floats, Teacher, write_atomically

Features = tuple[str, str]  # a kind of task, and the student's uncertainty at it
TRIED = ("auto", "paired", "coach")  # stepwise costs more than it gains
STUDENTS = 128  # taught side by side in training
SHARED = 2  # kinds of tasks with equal uncertainties in two streams, from which on both are one student's
RIDGE = 6.0


def look(observation: dict[str, Floats]) -> list[Features]:
    """Kind of task, as the numbers of its features, and uncertainty, of every student."""
    kinds = [" ".join(map(str, np.flatnonzero(task))) for task in observation["task"]]
    return [(kind, f"{doubt:.5f}") for kind, doubt in zip(kinds, observation["uncertainty"][:, 0], strict=True)]


def indicators(seen: Features, student: int | None) -> list[str]:
    """Binary features that a lane's advantage is regressed on."""
    kind, doubt = seen
    common = ["", kind, *kind.split()]
    of_student = [] if student is None else [f"student {student}: {indicator}" for indicator in common]
    return [*common, f"{kind} {doubt}", *of_student]


def identify(streams: list[int], seen: list[Features]) -> npt.NDArray[np.int64]:
    """The student of every stream, by number."""
    number = {each: i for i, each in enumerate(dict.fromkeys(seen))}
    met = csr_matrix((np.ones(len(seen)), (streams, [number[each] for each in seen])))
    met.data[:] = 1
    _, student = connected_components(met @ met.T >= SHARED, directed=False)
    return np.asarray(student, dtype=np.int64)


def fit(streams: list[int], seen: list[Features], reward: npt.NDArray[np.float64]) -> dict[str, Any]:
    """The model: ``weights`` of indicators, one a lane, and ``students`` by what they are known by.

    Args:
        streams: of every task, the number of its stream, N of them.
        seen: of every task.
        reward: of every task, by lane, [N, len(TRIED)].
    """
    student = identify(streams, seen)[streams].tolist()
    rows = [indicators(each, who) for each, who in zip(seen, student, strict=True)]
    number = {indicator: i for i, indicator in enumerate(dict.fromkeys(chain(*rows)))}
    places = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    explained = csr_matrix((np.ones(len(places)), (places, [number[indicator] for indicator in chain(*rows)])))
    advantage = reward - reward[:, [reward.mean(0).argmax()]]
    weights = [lsqr(explained, column, damp=RIDGE**0.5)[0] for column in advantage.T]
    by_indicator = np.stack(weights, axis=1).round(4).tolist()
    known = {" at ".join(each): who for each, who in zip(seen, student, strict=True)}
    return {"weights": dict(zip(number, by_indicator, strict=True)), "students": known}


class Agent(Teacher):
    """The trained teacher; ``lane_advantage:runs/lane-advantage/model.json`` on the command line."""

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.model: dict[str, Any] | None = None

    def load(self, path: Path) -> None:
        """Use a trained model."""
        self.model = json.loads(path.read_text())

    def reset(self, observation: dict[str, Floats]) -> None:
        self.students: list[int | None] = [None] * len(observation["time"])

    def act(self, observation: dict[str, Floats]) -> Floats:
        if self.model is None:
            raise self._untrained("model.json")
        seen, weights, unknown = look(observation), self.model["weights"], [0.0] * len(TRIED)
        self.students = [
            self.model["students"].get(" at ".join(each), who) for each, who in zip(seen, self.students, strict=True)
        ]
        found = [[weights.get(m, unknown) for m in indicators(*each)] for each in zip(seen, self.students, strict=True)]
        lane = [TRIED[int(np.sum(each, axis=0).argmax())] for each in found]
        return np.asarray(self.action_space.encode(len(lane), lane=np.array(lane), plan="own", operation="keep"))


def train(
    env_id: str,
    steps: int,
    out: Path,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Learn from tasks of training students; a lane tried is a step. Returns the model's file, written after every stream."""
    envs: Any = gym.make_vec(env_id, num_envs=STUDENTS, autoreset=False, **(settings or {}))
    options = np.stack([envs.single_action_space.encode(STUDENTS, lane=lane) for lane in TRIED], axis=1)
    streams: list[int] = []
    seen: list[Features] = []
    rewards: list[npt.NDArray[np.float64]] = []
    done = first = 0
    path = out / "model.json"
    while done < steps:
        observation, _ = envs.reset(seed=10_000 * seed + first)
        finished = np.zeros(STUDENTS, dtype=bool)
        while not finished.all():
            busy = np.flatnonzero(~finished)
            streams += (busy + first).tolist()
            seen += [each for each, ended in zip(look(observation), finished, strict=True) if not ended]
            rewards.append(envs.expected_reward(options, 1)[busy])
            observation, _, finished, _, _ = envs.step(options[:, 0])
            done += options[..., 0].size
        first += STUDENTS
        reward = np.concatenate(rewards)
        write_atomically(path, json.dumps(fit(streams, seen, reward)).encode())
        lanes = ", ".join(f"{lane} {mean:.3f}" for lane, mean in zip(TRIED, reward.mean(0), strict=True))
        report(done, f"{first} streams: {lanes}")
    return path
