"""S3RL's rule (Zhao et al., AutoRL workshop at ICML 2024): starts uniform over clusters of the teacher's value, episodes cut
short, for the first part of practice. Published: the first 100k of 1M steps, episodes cut after 100 of at most 1000 steps."""

from typing import Any

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    classify, truncate = True, True  # status classification (SC) and student trajectory truncation (STT)
    share = 0.1  # of practice is guided
    cut = 0.1  # of the task's time limit

    def study(self, metadata: dict[str, Any]) -> None:
        """How many snapshots each cluster has: without classification, all snapshots are equally likely."""
        self.size = np.array([cluster["snapshots"] for cluster in metadata["clusters"]])
        self.horizon = max(self.action_space.shortest, self.cut * metadata["limit"])

    def act(self, observation: dict[str, Floats]) -> Floats:
        over = 1 - observation["time"][:, 0] >= self.share
        weights = np.tile(np.ones_like(self.size) if self.classify else self.size, (len(over), 1))
        horizon = self.horizon if self.truncate else None
        return np.asarray(self.action_space.encode(weights, horizon=horizon, end=over))
