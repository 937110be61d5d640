"""Finds whom to trust by halving: two teachers at once, while more than two may be right, and then one.

What the validation gains in a step says whether a right one was among them. From then on the others are suspected, or else
those who were trusted. When other teachers come, those who diverge least from the student are taken for those it was taught by.
A student whose loss is low knows itself who is right.
"""

from typing import Any

import numpy as np

from kdgym.teaching import Floats, Teacher

LAST = 0.7  # the loss that a well-taught student falls to


class Agent(Teacher):
    # Shares of the way there that the loss falls by, at least, in a step under one right teacher, or two of whom one is right.
    one, two = 0.12, 0.2
    sure = 1.5  # the loss below which a student was taught by a right teacher
    company = "label_loss"  # what changes when other teachers come
    promise = "agreement"  # who has more of it comes first

    def reset(self, observation: dict[str, Floats]) -> None:
        self.suspected = np.zeros_like(observation[self.promise])
        self.trusted, self.before = self.suspected > 0, {name: observation[name] for name in ("loss", self.company)}

    def act(self, observation: dict[str, Floats]) -> Floats:
        number = self.trusted.sum(1, keepdims=True)
        near = self.distance(observation).argsort(1).argsort(1)
        if number.any():
            wanted = np.where(number > 1, self.two, self.one) * (self.before["loss"] - LAST)
            others = (observation[self.company] != self.before[self.company]).any(1, keepdims=True)
            taught = np.where(others, near < number, self.trusted)
            self.suspected = np.where(others, 0, self.suspected) + (taught != (observation["change"] > wanted))
        self.before = {name: observation[name].copy() for name in self.before}
        right = self.suspected == self.suspected.min(1, keepdims=True)
        rank = np.where(right, -observation[self.promise], 1).argsort(1).argsort(1)
        halved = rank < np.where(right.sum(1, keepdims=True) > 2, 2, 1)
        self.trusted = np.where(observation["loss"] < self.sure, near < 1, halved)
        return self.follow(self.trusted)

    def distance(self, observation: dict[str, Floats]) -> Floats:
        """How far each teacher is from the student."""
        return observation["divergence"]

    def follow(self, trusted: Any) -> Floats:
        """The action that imitates these teachers alone, bool [S, 5]."""
        return np.asarray(self.action_space.encode(ce=0, forward=3, temperature=1, teacher=trusted))
