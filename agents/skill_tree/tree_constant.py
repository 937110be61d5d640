"""The same move for every skill at every step: explore, and leave the allocations as they are. DataEnvGym's constant policy
(StubActionPolicy)."""

import numpy as np

from kdgym.teaching import Teacher


class Agent(Teacher):
    static = True

    def act(self, observation):
        explore = np.ones((len(observation["open"]), self.action_space.skills), dtype=bool)
        return self.action_space.encode(explore, observation["allocation"], observation["allocation"])
