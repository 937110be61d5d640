"""Teachers of a classroom who spread everything evenly: credits over the steps, time over their own skills; the control."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        plan = self.action_space.seen(observation)["own"]
        return self.action_space.encode(np.ones(plan.shape[:2]), plan)
