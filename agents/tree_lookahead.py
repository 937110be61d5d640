"""Upper bound: tries several moves on copies of the student, at no cost, and makes the one that taught most."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
CANDIDATES = 6


class Agent:
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def attach(self, envs: Any) -> None:
        self.envs = envs

    def act(self, observation: dict[str, Floats]) -> Floats:
        moves = np.stack([self._move(observation, i) for i in range(CANDIDATES)], axis=1)
        students = len(moves)
        branches = self.envs.branch(CANDIDATES)
        after, *_ = branches.step(moves.reshape(students * CANDIDATES, -1))
        loss = (after["target"] * after["loss"]).sum(-1).reshape(students, CANDIDATES)
        return np.asarray(moves[np.arange(students), loss.argmin(-1)])

    def _move(self, observation: dict[str, Floats], candidate: int) -> Floats:
        """Target skills only: explore, or exploit by target, by what is missing, by subskill loss, or with random weights."""
        students, skills = len(observation["open"]), self.action_space.skills
        opened = observation["open"].reshape(students, skills, -1)
        target, missing = observation["target"], 1.02 - observation["accuracy"]
        loss = observation["subskill_loss"].reshape(opened.shape)
        chance = np.exp(self.rng.normal(0, 0.7, opened.shape))
        per_skill = target * missing if candidate != 1 else target
        weight = per_skill[:, :, None] * opened * {2: loss, 3: loss * chance, 4: chance}.get(candidate, 1.0)
        total = weight.sum((1, 2), keepdims=True)
        wanted = np.where(total > 0, weight / np.maximum(total, 1e-9), 0).reshape(students, -1)
        explore = (opened == 0).any(-1) & (target > 0) & ((candidate == 5) | ~opened.any(-1))
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
