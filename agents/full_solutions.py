"""Shows wrong attempts the whole solution, to be learned like the student's own tokens: supervised learning on its mistakes.

Half of each group at most: a group in which everybody is right after feedback has no advantage, and teaches nothing.
"""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "wrong", "kind": "full_solution", "shaping": "plain"}
        return np.asarray(self.action_space.encode(len(observation["time"]), fraction=0.5, weight=1, **rule))
