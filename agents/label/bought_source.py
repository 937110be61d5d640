"""Trusts the sources that agree best with bought labels, which all money is spent on at once, and may be wrong."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        agreement = observation["bought_agreement"]
        best = agreement == agreement.max(1, keepdims=True)
        return np.asarray(self.action_space.encode(source=best, pool=3, given=0.1, buy=1))
