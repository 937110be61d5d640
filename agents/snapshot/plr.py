"""Prioritised level replay (Jiang, Grefenstette and Rocktäschel, ICML 2021) with clusters as levels: practise where the
critic errs most, by rank, mixed with clusters that were not visited for long."""

import numpy as np

from kdgym.teaching import Floats, Teacher

TEMPERATURE, STALENESS, ORDINARY = 0.5, 0.2, 0.2


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.visits = np.zeros_like(observation["visits"], dtype=np.float64)
        self.stale = np.zeros_like(self.visits)

    def act(self, observation: dict[str, Floats]) -> Floats:
        fresh = observation["visits"] > self.visits
        self.visits = observation["visits"].astype(np.float64)
        self.stale = np.where(fresh, 0, self.stale + 1)
        rank = 1 + (-observation["error"]).argsort(axis=1).argsort(axis=1)
        score = (1 / rank) ** (1 / TEMPERATURE)
        score = score / score.sum(1, keepdims=True)
        waited = (self.stale + 1) / (self.stale + 1).sum(1, keepdims=True)
        weights = (1 - STALENESS) * score + STALENESS * waited
        return np.asarray(self.action_space.encode(weights, ordinary=ORDINARY))
