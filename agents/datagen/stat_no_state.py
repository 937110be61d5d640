"""STAT's control that sees no student: it knows the goal, and takes every skill to be half learned at all times. DataEnvGym's
no-state ablation."""

import numpy as np

from kdgym.agents.datagen import stat


class Agent(stat.Agent):
    def accuracy(self, observation):
        return np.full_like(observation["accuracy"], 0.5)
