"""STAT's selection: a profile of what the student misses decides how often each class is drawn (He, Panigrahi, Lin and Arora,
"Skill-targeted adaptive training", 2025, section 3).

Expressed: shares of classes in proportion to the share of validation images that the student fails. Left out: skills named by a
language model; an image has one class. Given labels are not doubted.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

LEAST = 0.01  # of a class without an error: it does not say that nothing is missing


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        return np.asarray(self.action_space.encode(classes=np.maximum(1 - observation["accuracy"], LEAST)))
