"""A pupil who asks about everything, and a tutor with ThinkTuning's rule: wrong attempts up to a quarter of each group.

After RRV et al. (EMNLP 2025), where nobody asks and nobody pays for asking; the feedback counts like the pupil's own tokens
(`agents/thinktuning_plain.py`).
"""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "wrong", "kind": "next_step", "shaping": "plain"}
        return np.asarray(
            self.action_space.encode(len(observation["time"]), ask=1, fraction=0.25, length=1, weight=1, **rule)
        )
