"""Teachers of a classroom who bid at an even pace, teach by what is missing, and find out which sources are any good.

Trust in a source falls exponentially with the sum of the gaps between its items' training loss and the skill's validation loss
(Hedge: Freund and Schapire, 1997), as `adaptive_source`'s does.
"""

import numpy as np

from kdgym.agents.datagen import adaptive_source


class Agent(adaptive_source.Agent):
    def act(self, observation):
        space, missing = self.action_space, observation["target"] * (1.02 - observation["accuracy"])
        weight = missing.repeat(space.sources, axis=1) * self.trust(observation)
        plan = np.where(space.places < 0, 0, weight[:, space.places.clip(0)])
        return space.encode(np.ones(plan.shape[:2]), plan)
