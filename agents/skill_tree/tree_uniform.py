"""Opens every subskill, then gives all of them the same: the control of the Skill-Tree level."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        opened = observation["open"]
        explore = (opened.reshape(len(opened), self.action_space.skills, -1) == 0).any(-1)
        equal = np.full_like(opened, 1 / opened.shape[-1])
        return np.asarray(self.action_space.encode(explore, equal, observation["allocation"]))
