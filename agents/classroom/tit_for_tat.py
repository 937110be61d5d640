"""Teachers of a classroom who ask for little at first, and then bid what the others bid in the step before.

After Axelrod (The Evolution of Cooperation, 1984). Their plan is by their goals and what is missing.
"""

import numpy as np

from kdgym.teaching import Teacher

MODEST = 0.5  # credits of the first bid; an even pace is 1


class Agent(Teacher):
    def act(self, observation):
        seen = self.action_space.seen(observation)
        bid = np.where(seen["time"] == 1, MODEST, seen["others_bid"])[:, :, 0]
        return self.action_space.encode(bid, seen["target"] * (1.02 - seen["accuracy"]))
