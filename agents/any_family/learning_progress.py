"""Absolute learning progress as a bandit's reward: teach what is changing (Graves et al., "Automated curriculum learning for
neural networks", ICML 2017; Portelas et al., ALP-GMM, CoRL 2019). Ignores the goal. What changes is a skill's
accuracy, or success from a cluster of snapshots."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    """Shares are 20 % uniform and 80 % in proportion to a running mean of |change of accuracy|."""

    def reset(self, observation: dict[str, Floats]) -> None:
        self.progress = np.zeros(observation["change"].shape)

    def act(self, observation: dict[str, Floats]) -> Floats:
        self.progress = 0.7 * self.progress + 0.3 * np.abs(observation["change"])
        skills = observation["change"].shape[-1]
        greedy = (self.progress + 1e-3) / (self.progress + 1e-3).sum(-1, keepdims=True)
        sources = observation.get("price", observation["change"]).shape[-1] // skills
        return np.asarray(self.action_space.encode((0.8 * greedy + 0.2 / skills).repeat(sources, axis=-1)))
