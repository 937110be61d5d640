"""Upper bound: knows which scorers read rightly, and trusts these alone. It cheats, and says so."""

import numpy as np

from kdgym.agents.select.agreeing_scorer import TRUSTED
from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def act(self, observation: dict[str, Floats]) -> Floats:
        return np.asarray(self.action_space.encode(scorer=self.envs.hidden()["good"], **TRUSTED))
