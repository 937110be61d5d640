"""From the goal backwards (Florensa et al., "Reverse curriculum generation", CoRL 2017): practise from the most
valuable cluster until it succeeds, then from the next one, and at last from ordinary starts."""

import numpy as np

from kdgym.teaching import Floats, Teacher

MASTERED = 0.6  # success rate at which a cluster is mastered
REVIEW = 0.3  # weight of mastered clusters: that of all of them, beside 1 for the frontier


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        clusters = observation["success"].shape[1]
        mastered = observation["success"] >= MASTERED
        # The frontier is the highest cluster that is not mastered; -1 if all are.
        frontier = clusters - 1 - np.argmax(~mastered[:, ::-1], axis=1)
        frontier[mastered.all(1)] = -1
        known = np.arange(clusters) > frontier[:, None]
        weights = REVIEW * known / clusters + (np.arange(clusters) == frontier[:, None])
        ordinary = np.where(frontier < 0, 0.8, 0.1)
        return np.asarray(self.action_space.encode(weights, ordinary=ordinary))
