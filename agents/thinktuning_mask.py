"""ThinkTuning's fixed fraction with another shaping of the feedback tokens, ``mask``: they are read and not learned from."""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "wrong", "kind": "next_step", "shaping": "mask"}
        return np.asarray(self.action_space.encode(len(observation["time"]), fraction=0.25, length=1, weight=1, **rule))
