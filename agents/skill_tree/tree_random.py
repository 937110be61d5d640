"""A fair coin a skill decides between exploring and exploiting, and exploiting means random allocations: DataEnvGym's
RandomExploreExploitPolicy."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        students, pairs = observation["open"].shape
        explore = self.rng.random((students, self.action_space.skills)) < 0.5
        wanted = self.rng.random((students, pairs)) * 2 / pairs
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
