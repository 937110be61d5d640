"""Upper bound: tries several moves on copies of the student, plays each lesson to its end, and makes the best move.

One step of rollout policy improvement on `tree_target` (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997): a move
is judged by how the lesson ends if tree_target's move, candidate 0, follows ever after.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
CANDIDATES = 8


class Agent:
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def attach(self, envs: Any) -> None:
        self.envs = envs

    def act(self, observation: dict[str, Floats]) -> Floats:
        moves = np.stack([self._move(observation, i) for i in range(CANDIDATES)], axis=1)
        branches = self.envs.branch(CANDIDATES)
        after, _, ended, *_ = branches.step(moves.reshape(-1, moves.shape[-1]))
        while not ended.all():
            after, _, ended, *_ = branches.step(self._move(after, 0))
        loss = (after["target"] * after["loss"]).sum(-1).reshape(-1, CANDIDATES)
        return np.asarray(moves[np.arange(len(moves)), loss.argmin(-1)])

    def _move(self, observation: dict[str, Floats], candidate: int) -> Floats:
        """0: by target and what is missing; 1: by target; 2: by target and what is missing, squared; others: 0, varied."""
        students, skills = len(observation["open"]), self.action_space.skills
        opened = observation["open"].reshape(students, skills, -1)
        target, missing = observation["target"], 1.05 - observation["accuracy"]
        per_skill = target * missing ** {1: 0, 2: 2}.get(candidate, 1)
        explore = (opened == 0).any(-1) & (target > 0)
        weight = (per_skill / np.maximum(opened.sum(-1), 1))[:, :, None] * opened
        if candidate >= 3:
            weight *= np.exp(self.rng.normal(0, 0.7, (students, skills, 1 if candidate % 2 else opened.shape[-1])))
        if candidate >= 5:  # a little of something else may help
            others = self.rng.dirichlet(np.full(skills, 0.2), students)
            weight += 0.15 * weight.sum((1, 2), keepdims=True) * (others[:, :, None] * opened)
            explore |= (opened == 0).any(-1) & (others > 0.3)
        total = weight.sum((1, 2), keepdims=True)
        wanted = (weight / np.maximum(total, 1e-9)).reshape(students, -1)
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
