"""Gives a skill that has just improved more of the same, and explores where it has not: DataEnvGym's ConfigurableActionPolicy
(an improvement of more than 0.01 adds 10 items to every subskill)."""

import numpy as np

from kdgym.teaching import Floats, Teacher

IMPROVEMENT, STEP = 0.01, 10 / 640  # ten items of a lesson of 640


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        students, skills = len(observation["open"]), self.action_space.skills
        opened = observation["open"].reshape(students, skills, -1)
        improved = observation["change"] > IMPROVEMENT
        explore = ~improved & (opened == 0).any(-1)
        more = observation["allocation"] + STEP * improved.repeat(opened.shape[-1], axis=-1)
        return np.asarray(self.action_space.encode(explore, more, observation["allocation"]))
