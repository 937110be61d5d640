"""A threshold on confidence: paired below it, otherwise auto.

Confidence is the mean judged score on this kind of task or, before there is any, the student's own certainty.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

UNSURE, GOOD = 0.3, 0.7


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        tried, judged = observation["history"][:, 0], observation["history"][:, 1]
        doubt = np.where(tried > 0, judged < GOOD, observation["uncertainty"][:, 0] > UNSURE)
        lane, operation = np.where(doubt, "paired", "auto"), np.where(doubt, "write", "keep")
        return np.asarray(self.action_space.encode(len(lane), lane=lane, plan="similar", operation=operation))
