"""A correction of its own for a mistake, to be learned like the student's own words, and the mistakes beside it to be told
from it: tailored learning (Wang et al., "Democratizing reasoning ability", EMNLP 2023). Looks at nothing.

In the paper every wrong answer is corrected, and the contrast with mistakes is a margin between hidden states, which no action
expresses. Here half of each group is corrected, and the contrast is that mistakes left in it have a negative advantage.
"""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "wrong", "kind": "next_step", "shaping": "plain"}
        return np.asarray(self.action_space.encode(len(observation["time"]), fraction=0.5, length=1, weight=1, **rule))
