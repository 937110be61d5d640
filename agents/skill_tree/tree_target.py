"""Opens the subskills of what counts and splits all the money over them by what counts and what is still missing."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        students, skills = len(observation["open"]), self.action_space.skills
        opened = observation["open"].reshape(students, skills, -1)
        missing = observation["target"] * (1.05 - observation["accuracy"])
        explore = (opened == 0).any(-1) & (observation["target"] > 0)
        weight = (missing / missing.sum(-1, keepdims=True))[:, :, None] * opened
        wanted = weight / np.maximum(opened.sum(-1, keepdims=True), 1)
        wanted = wanted.reshape(students, -1)
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
