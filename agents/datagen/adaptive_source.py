"""Target-proportional, and finds out which sources are any good.

A clean source's items are like the validation items, so its training loss tracks the validation loss. Wrong answers stay
above it, the same few problems fall below it. The rule adds up these gaps and trusts a source exponentially less for them
(Hedge: Freund and Schapire, 1997).
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

TRUST = 8.0  # how fast a gap of one nat costs trust


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.gaps = np.zeros_like(observation["price"])
        self.spend = observation["source_spend"]

    def act(self, observation: dict[str, Floats]) -> Floats:
        sources = observation["price"].shape[-1] // observation["target"].shape[-1]
        weight = observation["target"].repeat(sources, axis=-1) * self.trust(observation)
        return np.asarray(self.action_space.encode(weight))

    def trust(self, observation: dict[str, Floats]) -> Floats:
        """How far each source is trusted by now: 1 for the best of a skill, less for others."""
        skills = observation["target"].shape[-1]
        sources = observation["price"].shape[-1] // skills
        bought = observation["source_spend"] > self.spend
        gap = np.abs(observation["source_loss"] - observation["loss"].repeat(sources, axis=-1))
        self.gaps = self.gaps + np.where(bought, gap, 0)
        self.spend = observation["source_spend"]
        by_skill = self.gaps.reshape(*self.gaps.shape[:-1], skills, sources)
        trust: Floats = np.exp(-TRUST * (by_skill - by_skill.min(-1, keepdims=True)))
        return trust.reshape(self.gaps.shape)
