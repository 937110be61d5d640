"""Each skill gets what it is worth in the end, its sources alike. Looks at the goal, never at the student."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    static = True

    def act(self, observation: dict[str, Floats]) -> Floats:
        sources = observation["price"].shape[-1] // observation["target"].shape[-1]
        return np.asarray(self.action_space.encode(observation["target"].repeat(sources, axis=-1)))
