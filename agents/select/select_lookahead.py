"""Upper bound: tries each scorer, and all of them, on copies of the student, and follows who leaves it the least loss.

A trial is the next step and one more. The copies share the student's randomness.
"""

import numpy as np

from kdgym.agents.select.agreeing_scorer import TRUSTED
from kdgym.teaching import Floats
from kdgym.teaching.lookahead import Trials


class Agent(Trials):
    def moves(self, observation: dict[str, Floats]) -> Floats:
        scorers = observation["loss_mean"].shape[1]
        trust = np.concatenate([np.eye(scorers), np.ones((1, scorers))])
        return np.asarray(self.action_space.encode(scorer=trust, **TRUSTED))
