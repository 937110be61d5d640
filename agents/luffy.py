"""One solution from elsewhere in every group, whatever the student wrote, with the shaping pi / (pi + 0.1): LUFFY's
mixed-policy GRPO (Yan et al., "Learning to reason under off-policy guidance", 2025). Looks at nothing."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "random", "kind": "full_solution", "shaping": "ratio"}
        return np.asarray(self.action_space.encode(len(observation["time"]), fraction=0.125, weight=1, **rule))
