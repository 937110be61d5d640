"""All episodes start where the environment starts them: reinforcement learning without a teacher, the control."""

import numpy as np

from kdgym.teaching import Teacher


class Agent(Teacher):
    static = True

    def act(self, observation):
        return np.asarray(self.action_space.encode(np.ones_like(observation["success"]), ordinary=1, end=True))
