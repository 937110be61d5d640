"""Trusts the teacher that agrees best with the given labels, of which some are wrong, perhaps as the teachers are."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        agreement = observation["agreement"]
        best = agreement == agreement.max(-1, keepdims=True)
        return np.asarray(self.action_space.encode(ce=0, forward=3, temperature=1, teacher=best))
