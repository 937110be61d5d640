"""Upper bound: tries several lessons on copies of the student, plays each to the end of the episode, and gives the best.

One step of rollout policy improvement (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997) on a teacher who spends by
target and by what is missing. It cheats twice: it knows the clean sources, and it may practise on the student without paying.
"""

from typing import Any

import numpy as np

from kdgym.teaching import Floats
from kdgym.teaching.lookahead import Lookahead


class Agent(Lookahead):
    def act(self, observation: dict[str, Floats]) -> Any:
        self.clean = self.envs.hidden()["kind"] == 0
        return super().act(observation)

    def candidate(self, observation: dict[str, Floats], number: int) -> Floats:
        """0: by target and what is missing; 1: by target; 2: the root of 0; others: variations, some with other skills."""
        clean = self.clean.repeat(
            len(observation["target"]) // len(self.clean), axis=0
        )  # copies of a student lie side by side
        target, missing = observation["target"].astype(float), 1.02 - observation["accuracy"]
        weight = target if number == 1 else target * missing
        if number == 2:
            weight = np.sqrt(weight)
        if number >= 3:
            weight = weight * np.exp(self.rng.normal(0, 0.7, weight.shape))
        if number >= 5:
            others = self.rng.dirichlet(np.full(weight.shape[-1], 0.2), len(weight))
            weight = weight + 0.15 * weight.sum(-1, keepdims=True) * others
        return np.asarray(self.action_space.encode(weight.repeat(clean.shape[-1] // weight.shape[-1], axis=-1) * clean))
