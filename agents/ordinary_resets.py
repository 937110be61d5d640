"""All episodes start where the environment starts them: reinforcement learning without a teacher, the control."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        return np.asarray(self.action_space.encode(np.ones_like(observation["success"]), ordinary=1, end=True))
