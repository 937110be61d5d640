"""Trusts the scorer that ranks the pool as the student does, once the student has learned the given labels for two steps.

It learns that scorer's labels, on the half where the student is unsure and the scorer is not.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

ALONE = 0.75  # share of the steps left after which the student has learned enough to be asked
TRUSTED = {"labels": 1, "student_entropy": 1, "scorer_entropy": -1, "keep": 0.5}


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        agreement = observation["student_agreement"]
        best = agreement == agreement.max(1, keepdims=True)
        alone = observation["time"] > ALONE
        trusting = self.action_space.encode(scorer=best, **TRUSTED)
        return np.asarray(np.where(alone, self.action_space.encode(len(best)), trusting))
