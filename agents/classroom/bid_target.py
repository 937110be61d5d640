"""Teachers of a classroom who bid at an even pace and teach by their goals and what is missing."""

import numpy as np

from kdgym.teaching import Teacher


class Agent(Teacher):
    def act(self, observation):
        seen = self.action_space.seen(observation)
        plan = seen["target"] * (1.02 - seen["accuracy"])
        return self.action_space.encode(np.ones(plan.shape[:2]), plan)
