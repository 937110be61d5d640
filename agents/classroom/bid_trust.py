"""Teachers of a classroom who bid at an even pace, teach by what is missing, and find out which sources are any good.

Trust in a source falls exponentially with the sum of the gaps between its items' training loss and the skill's validation loss
(Hedge: Freund and Schapire, 1997), as `adaptive_source`'s does.
"""

import numpy as np

from kdgym.teaching import Teacher

TRUST = 8.0  # how fast a gap of one nat costs trust


class Agent(Teacher):
    def reset(self, observation):
        self.gaps = np.zeros_like(observation["price"])
        self.spend = observation["source_spend"]

    def act(self, observation):
        space, skills = self.action_space, observation["target"].shape[1]
        bought = observation["source_spend"] > self.spend
        self.spend = observation["source_spend"]
        gap = np.abs(observation["source_loss"] - observation["loss"].repeat(space.sources, axis=1))
        self.gaps = self.gaps + np.where(bought, gap, 0)
        by_skill = self.gaps.reshape(len(gap), skills, -1)
        trust = np.exp(-TRUST * (by_skill - by_skill.min(2, keepdims=True)))
        missing = observation["target"] * (1.02 - observation["accuracy"])
        weight = (missing[:, :, None] * trust).reshape(len(gap), -1)
        plan = np.where(space.places < 0, 0, weight[:, space.places.clip(0)])
        return space.encode(np.ones(plan.shape[:2]), plan)
