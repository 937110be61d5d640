"""Teachers of a classroom who bid in proportion to what their subject lacks, and teach by their goals and what is missing.

Time then goes by need, as under proportional fairness (Kelly, European Transactions on Telecommunications 8, 1997) with needs
that everybody states honestly.
"""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        seen = self.action_space.seen(observation)
        plan = seen["target"] * (1.02 - seen["accuracy"])
        return self.action_space.encode(np.minimum(2 * plan.sum(2), 4), plan)
