"""A pupil who never asks: plain GRPO (Shao et al., DeepSeekMath, 2024). The control of tutoring."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        return np.asarray(self.action_space.encode(len(observation["time"]), ask=0))
