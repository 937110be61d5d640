"""A bandit over the kinds of feedback for every student: each once, then by an upper confidence bound on how much the
validation loss fell (UCB1: Auer, Cesa-Bianchi and Fischer, 2002)."""

import numpy as np

from kdgym.teaching import Floats, Teacher

CURIOSITY = 0.02  # nats; a step of practice moves the loss by about as much


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        students, kinds = len(observation["time"]), len(self.action_space.choices["kind"])
        self.tried, self.gain = np.zeros((2, students, kinds))
        self.loss = observation["loss"].mean(-1)
        self.kind = np.full(students, -1)  # nothing was tried yet

    def act(self, observation: dict[str, Floats]) -> Floats:
        loss, everyone = observation["loss"].mean(-1), np.arange(len(observation["time"]))
        self.tried[everyone, self.kind] += self.kind >= 0
        self.gain[everyone, self.kind] += (self.kind >= 0) * (self.loss - loss)
        bonus = CURIOSITY * np.sqrt(np.log(1 + self.tried.sum(1, keepdims=True)) / np.maximum(self.tried, 1))
        bound = self.gain / np.maximum(self.tried, 1) + bonus
        self.kind = np.where(self.tried == 0, np.inf, bound).argmax(1)
        self.loss = loss
        rule = {"which": "wrong", "kind": self.kind, "shaping": "plain"}
        return np.asarray(self.action_space.encode(len(loss), fraction=0.25, length=1, weight=1, **rule))
