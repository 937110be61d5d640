"""Teachers of a classroom who bid in proportion to what their subject lacks, and teach by their goals and what is missing.

Time then goes by need, as under proportional fairness (Kelly, European Transactions on Telecommunications 8, 1997) with needs
that everybody states honestly. A teacher whose pupil can do nothing of its subject yet spends its purse evenly.
"""

import numpy as np

from kdgym.teaching import Teacher


class Agent(Teacher):
    def act(self, observation):
        seen = self.action_space.seen(observation)
        plan = seen["target"] * (1.02 - seen["accuracy"])
        even = seen["purse"] / seen["time"]  # credits a step that would empty the purse with the last one
        return self.action_space.encode(np.clip(plan.sum(2) * even[:, :, 0], 0, 4), plan)
