"""Copies errors back, and says which misconceptions a student has: Bayes' rule on how often it follows each known wrong rule.

The catalogue of wrong rules is public, as in Brown and Burton's BUGGY (Cognitive Science 2, 1978); who follows which is not.
"""

import json

import numpy as np
from scipy.stats import betabinom

from kdgym.agents.open_ended.copy_errors import Agent as CopyErrors

PRIOR = 1 / 3
HOLDER, OTHER = (2, 2), (1, 6)  # Beta distributions of how often a rule is followed, by who has it and by who has not


class Agent(CopyErrors):
    def reset(self, observation):
        self.first = observation  # later ones say less, for teaching cures

    def diagnose(self, observation):
        """Probability that each student began with each misconception, [S, M]."""
        rules = [json.loads(text)["wrong_rules"].values() for text in self.first]
        asked = np.array([[rule["asked"] for rule in row] for row in rules])
        followed = np.array([[rule["followed"] for rule in row] for row in rules])
        evidence = betabinom.logpmf(followed, asked, *HOLDER) - betabinom.logpmf(followed, asked, *OTHER)
        return 1 / (1 + (1 - PRIOR) / PRIOR * np.exp(-evidence))
