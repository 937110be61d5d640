"""Splits the money like tree_target, and trusts subskills less whose items stay harder than the validation.

Right items of a subskill are about as hard as the validation; wrong answers stay above it. Trust falls exponentially with the
sum of these gaps (Hedge: Freund and Schapire, 1997), as `adaptive_source`'s in sources.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

TRUST = 2.0  # how fast a gap of one nat costs trust


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.gaps = np.zeros_like(observation["subskill_loss"])
        self.spend = observation["subskill_spend"]

    def act(self, observation: dict[str, Floats]) -> Floats:
        students, skills = len(observation["open"]), self.action_space.skills
        bought = observation["subskill_spend"] > self.spend
        self.spend = observation["subskill_spend"]
        subskills = self.gaps.shape[1] // skills
        gap = observation["subskill_loss"] - observation["loss"].repeat(subskills, axis=1)
        self.gaps = self.gaps + np.where(bought, gap.clip(0), 0)
        opened = observation["open"].reshape(students, skills, -1)
        gaps = np.where(opened > 0, self.gaps.reshape(opened.shape), np.inf)
        least = gaps.min(2, keepdims=True)
        trust = opened * np.exp(-TRUST * (gaps - np.where(np.isfinite(least), least, 0)))
        weight = trust / np.maximum(trust.sum(2, keepdims=True), 1e-9)
        missing = (observation["target"] * (1.05 - observation["accuracy"]))[:, :, None] * weight
        wanted = missing / np.maximum(missing.sum((1, 2), keepdims=True), 1e-9)
        explore = (opened == 0).any(-1) & (observation["target"] > 0)
        return np.asarray(self.action_space.encode(explore, wanted.reshape(students, -1), observation["allocation"]))
