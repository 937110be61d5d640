"""STAT's control with a wrong profile: as uneven as STAT's, but put down to skills at random, the same all episode long."""

import numpy as np

from kdgym.agents.datagen import stat


class Agent(stat.Agent):
    def reset(self, observation):
        self.order = self.rng.random(observation["target"].shape).argsort(axis=-1)

    def profile(self, failed, failures):
        return np.take_along_axis(super().profile(failed, failures), self.order, axis=-1)
