"""Explores, then stops everything, and explores again, until a skill has had its share: DataEnvGym's
AlternatingExploreExploitPolicy. Looks at nothing but the tree."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.turn = 0

    def act(self, observation: dict[str, Floats]) -> Floats:
        students, skills = len(observation["open"]), self.action_space.skills
        spent = observation["subskill_spend"].reshape(students, skills, -1).sum(-1)
        explore = (spent < 1 / skills) & (self.turn % 2 == 0)
        self.turn += 1
        nothing = np.zeros_like(observation["allocation"])
        return np.asarray(self.action_space.encode(explore, nothing, observation["allocation"]))
