"""Random shares at every step: the control that changes its mind for no reason. Copy this file to write a teacher."""

import numpy as np


class Agent:
    """Teaches S students at once: every observation is an array [S, n], the action an array [S, m] within [-1, 1]."""

    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def act(self, observation):
        students = len(observation["time"])
        return self.rng.uniform(-1, 1, (students, *self.action_space.shape)).astype(np.float32)
