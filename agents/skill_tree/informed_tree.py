"""Upper bound: splits the money like tree_target, and knows which subskills have faulty engines. It cheats, and says so."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    upper_bound = True

    def act(self, observation: dict[str, Floats]) -> Floats:
        students, skills = len(observation["open"]), self.action_space.skills
        sound = ~self.envs.hidden()["faulty"].reshape(students, skills, -1)
        opened = observation["open"].reshape(students, skills, -1)
        explore = ((opened == 0) & sound).any(-1) & (observation["target"] > 0)
        missing = observation["target"] * (1.05 - observation["accuracy"])
        weight = missing[:, :, None] * opened * sound / np.maximum((opened * sound).sum(-1, keepdims=True), 1)
        wanted = weight / np.maximum(weight.sum((1, 2), keepdims=True), 1e-9)
        return np.asarray(self.action_space.encode(explore, wanted.reshape(students, -1), observation["allocation"]))
