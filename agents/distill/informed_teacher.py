"""Upper bound: knows which teacher is good, and trusts it alone. It cheats, and says so."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def act(self, observation: dict[str, Floats]) -> Floats:
        good = self.envs.hidden()["good"]
        return np.asarray(self.action_space.encode(ce=0, forward=3, temperature=1, teacher=good))
