"""A profile of the skills that failed problems miss decides what is taught: STAT (He, Panigrahi, Lin and Arora, "Skill-targeted
adaptive training", 2025, section 3). What each skill builds on takes the place of the language model that names missing skills.

A failed problem misses its own skill and, as likely as the student fails at them, the skills this one builds on.
"""

from typing import Any

import numpy as np

from kdgym.teaching import Floats, Teacher

LEAST = 0.01  # of an examination without an error: it does not say that nothing is missing


class Agent(Teacher):
    """Shares follow the expected number of times a skill is named, the goal's failed problems being asked; sources alike."""

    def study(self, metadata: dict[str, Any]) -> None:
        """Learn which skills each builds on, directly or not: bool [K, K]."""
        place = {skill["name"]: k for k, skill in enumerate(metadata["skills"])}
        self.builds_on = np.zeros((len(place), len(place)), dtype=bool)
        for k, skill in enumerate(metadata["skills"]):
            self.builds_on[k, [place[name] for name in skill["prerequisites"]]] = True
        for via in range(len(place)):  # Warshall's transitive closure
            self.builds_on |= self.builds_on[:, via, None] & self.builds_on[via]

    def act(self, observation: dict[str, Floats]) -> Floats:
        failures = np.maximum(1 - self.accuracy(observation), LEAST)
        profile = self.profile(observation["target"] * failures, failures)
        sources = observation["price"].shape[-1] // profile.shape[-1]
        return np.asarray(self.action_space.encode(profile.repeat(sources, axis=-1)))

    def accuracy(self, observation: dict[str, Floats]) -> Floats:
        """What the teacher knows of the student, [S, K]."""
        return observation["accuracy"]

    def profile(self, failed: Floats, failures: Floats) -> Floats:
        """How often each skill is missing, [S, K], from the failed problems of each and the share failed of each."""
        return failed + failed @ self.builds_on * failures
