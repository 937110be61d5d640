"""Upper bound: tries several lessons on copies of the student, plays each to the end of the episode, and gives the best.

One step of rollout policy improvement (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997) on a teacher who spends by
target and by what is missing. It cheats twice: it knows the clean sources, and it may practise on the student without paying.
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
        clean = self.envs.hidden()["kind"] == 0
        lessons = np.stack([self._lesson(observation, clean, i) for i in range(CANDIDATES)], axis=1)
        branches = self.envs.branch(CANDIDATES)
        after, _, ended, *_ = branches.step(lessons.reshape(-1, lessons.shape[-1]))
        while not ended.all():
            after, _, ended, *_ = branches.step(self._lesson(after, clean.repeat(CANDIDATES, axis=0), 0))
        loss = (after["target"] * after["loss"]).sum(-1).reshape(-1, CANDIDATES)
        return np.asarray(lessons[np.arange(len(lessons)), loss.argmin(-1)])

    def _lesson(self, observation: dict[str, Floats], clean: npt.NDArray[np.bool_], candidate: int) -> Floats:
        """0: by target and what is missing; 1: by target; 2: the root of 0; others: variations, some with other skills."""
        target, missing = observation["target"].astype(float), 1.02 - observation["accuracy"]
        weight = target if candidate == 1 else target * missing
        if candidate == 2:
            weight = np.sqrt(weight)
        if candidate >= 3:
            weight = weight * np.exp(self.rng.normal(0, 0.7, weight.shape))
        if candidate >= 5:
            others = self.rng.dirichlet(np.full(weight.shape[-1], 0.2), len(weight))
            weight = weight + 0.15 * weight.sum(-1, keepdims=True) * others
        return np.asarray(self.action_space.encode(weight.repeat(clean.shape[-1] // weight.shape[-1], axis=-1) * clean))
