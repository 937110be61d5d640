"""Opens every subskill, then tops up those that have had least until all have had the same: DataEnvGym's
FillBalancedSkillTreePolicy."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        spend = observation["subskill_spend"]
        explore = (observation["open"].reshape(len(spend), self.action_space.skills, -1) == 0).any(-1)
        behind = spend.max(-1, keepdims=True) - spend + 1e-4
        wanted = behind / behind.sum(-1, keepdims=True)
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
