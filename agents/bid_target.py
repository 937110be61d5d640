"""Teachers of a classroom who bid at an even pace and teach by their goals and what is missing."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        seen = self.action_space.seen(observation)
        plan = seen["target"] * (1.02 - seen["accuracy"])
        return self.action_space.encode(np.ones(plan.shape[:2]), plan)
