"""Finds whom to trust by halving: two teachers at once, while more than two may be right, and then one.

What the validation gains in a step says whether a right one was among them. From then on the others are suspected, or else
those who were trusted. When other teachers come, those who diverge least from the student are taken for those it was taught by.
A student whose loss is low knows itself who is right.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

LAST = 0.7  # the loss that a well-taught student falls to
# Shares of the way there that the loss falls by, at least, in a step under one right teacher, or two of whom one is right.
ONE, TWO = 0.12, 0.2
SURE = 1.5  # the loss below which a student was taught by a right teacher


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.suspected = np.zeros_like(observation["agreement"])
        self.trusted, self.before = self.suspected > 0, {name: observation[name] for name in ("loss", "label_loss")}

    def act(self, observation: dict[str, Floats]) -> Floats:
        number = self.trusted.sum(1, keepdims=True)
        near = observation["divergence"].argsort(1).argsort(1)
        if number.any():
            wanted = np.where(number > 1, TWO, ONE) * (self.before["loss"] - LAST)
            others = (observation["label_loss"] != self.before["label_loss"]).any(1, keepdims=True)
            taught = np.where(others, near < number, self.trusted)
            self.suspected = np.where(others, 0, self.suspected) + (taught != (observation["change"] > wanted))
        self.before = {name: observation[name].copy() for name in self.before}
        right = self.suspected == self.suspected.min(1, keepdims=True)
        rank = np.where(right, -observation["agreement"], 1).argsort(1).argsort(1)
        halved = rank < np.where(right.sum(1, keepdims=True) > 2, 2, 1)
        self.trusted = np.where(observation["loss"] < SURE, near < 1, halved)
        return np.asarray(self.action_space.encode(ce=0, forward=3, temperature=1, teacher=self.trusted))
