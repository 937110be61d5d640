"""ThinkTuning's fixed fraction with another shaping of the feedback tokens, ``ratio``:
LUFFY's pi / (pi + 0.1) for right and wrong alike."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "wrong", "kind": "next_step", "shaping": "ratio"}
        return np.asarray(self.action_space.encode(len(observation["time"]), fraction=0.25, length=1, weight=1, **rule))
