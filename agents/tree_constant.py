"""The same move for every skill at every step: explore, and leave the allocations as they are. DataEnvGym's constant policy
(StubActionPolicy)."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        explore = np.ones((len(observation["open"]), self.action_space.skills), dtype=bool)
        return self.action_space.encode(explore, observation["allocation"], observation["allocation"])
