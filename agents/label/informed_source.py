"""Upper bound: knows which sources are good and whether the expert is right, and trusts these alone. It cheats, and says so."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def act(self, observation: dict[str, Floats]) -> Floats:
        hidden = self.envs.hidden()
        return np.asarray(
            self.action_space.encode(source=hidden["good"], pool=3, given=0.1, bought=1 - hidden["faulty"], buy=1)
        )
