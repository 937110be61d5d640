"""Finds whom to trust by halving: two sources at once, while more than two may be right, and then one.

What the validation gains in a step says whether a right one was among them. From then on the others are suspected, or else
those who were trusted. When other sources come, those who agree best with the student's memory are taken for those it was
taught by. A student whose loss is low knows itself who is right. All money is spent at first: of sources that are equally
suspected, those come first whom the expert agrees with.
"""

from typing import Any

import numpy as np

from kdgym.agents.distill import probing_teacher
from kdgym.teaching import Floats

TRUSTED = {"pool": 3, "given": 0, "bought": 0, "buy": 1, "memory": 0.9, "soft": 1}


class Agent(probing_teacher.Agent):
    one, two, sure = 0.15, 0.2, 1.3
    company, promise = "peers", "bought_agreement"

    def distance(self, observation: dict[str, Floats]) -> Floats:
        return -observation["own_agreement"]

    def follow(self, trusted: Any) -> Floats:
        return np.asarray(self.action_space.encode(source=trusted, **TRUSTED))
