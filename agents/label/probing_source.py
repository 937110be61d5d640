"""Finds whom to trust by halving: two sources at once, while more than two may be right, and then one.

What the validation gains in a step says whether a right one was among them. From then on the others are suspected, or else
those who were trusted. When other sources come, those who agree best with the student's memory are taken for those it was
taught by. A student whose loss is low knows itself who is right. All money is spent at first: of sources that are equally
suspected, those come first whom the expert agrees with.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

TRUSTED = {"pool": 3, "given": 0, "bought": 0, "buy": 1, "memory": 0.9, "soft": 1}
LAST = 0.7  # the loss that a well-taught student falls to
# Shares of the way there that it falls by, at least, in a step under one right source or under two.
ONE, TWO = 0.15, 0.2
SURE = 1.3  # the loss below which a student was taught by a right source


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.suspected = np.zeros_like(observation["peers"])
        self.trusted, self.before = self.suspected > 0, {name: observation[name] for name in ("loss", "peers")}

    def act(self, observation: dict[str, Floats]) -> Floats:
        number = self.trusted.sum(1, keepdims=True)
        near = (-observation["own_agreement"]).argsort(1).argsort(1)
        if number.any():
            wanted = np.where(number > 1, TWO, ONE) * (self.before["loss"] - LAST)
            others = (observation["peers"] != self.before["peers"]).any(1, keepdims=True)
            taught = np.where(others, near < number, self.trusted)
            self.suspected = np.where(others, 0, self.suspected) + (taught != (observation["change"] > wanted))
        self.before = {name: observation[name].copy() for name in self.before}
        right = self.suspected == self.suspected.min(1, keepdims=True)
        rank = np.where(right, -observation["bought_agreement"], 1).argsort(1).argsort(1)
        halved = rank < np.where(right.sum(1, keepdims=True) > 2, 2, 1)
        self.trusted = np.where(observation["loss"] < SURE, near < 1, halved)
        return np.asarray(self.action_space.encode(source=self.trusted, **TRUSTED))
