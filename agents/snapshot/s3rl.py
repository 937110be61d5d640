"""S3RL's rule (Zhao et al., AutoRL workshop at ICML 2024): starts uniform over clusters of the demonstrator's value, and
truncated episodes, for the first part of practice. Published: the first 100k of 1M steps, 100 of at most 1000 steps."""

from typing import Any

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    classify, truncate = True, True  # status classification (SC) and student trajectory truncation (STT)
    share = 0.1  # of practice that is guided
    cut = 0.1  # of the task's time limit

    def study(self, metadata: dict[str, Any]) -> None:
        """How many snapshots each cluster has: without classification, all snapshots are equally likely."""
        self.size = np.array([cluster["snapshots"] for cluster in metadata["clusters"]])
        self.horizon = max(self.action_space.shortest, self.cut * metadata["limit"])

    def act(self, observation: dict[str, Floats]) -> Floats:
        done = 1 - observation["time"][:, 0] >= self.share
        weights = np.tile(np.ones_like(self.size) if self.classify else self.size, (len(done), 1))
        horizon = self.horizon if self.truncate else None
        return np.asarray(self.action_space.encode(weights, horizon=horizon, end=done))
