"""Teachers of this package."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats, Teacher


class OnTarget(Teacher):
    """Practise what counts, in proportion."""

    groups: ClassVar = ("DataGen Skill-List",)

    def act(self, observation: dict[str, Floats]) -> Floats:
        target = observation["target"]
        encoded: Floats = self.action_space.encode(target.repeat(self.action_space.shape[0] // target.shape[1], axis=1))
        return encoded


class FollowsReward(Teacher):
    """A bandit over skills: practise each once, then the one that paid best the last time it was practised."""

    def reset(self, observation: dict[str, Floats]) -> None:
        self.paid = np.full(observation["target"].shape, np.inf)

    def act(self, observation: dict[str, Floats]) -> Floats:
        self.skill = self.paid.argmax(axis=1)
        encoded: Floats = self.action_space.encode(np.eye(self.paid.shape[1])[self.skill])
        return encoded

    def after_step(self, reward: npt.NDArray[np.float64], done: npt.NDArray[np.bool_]) -> None:
        self.paid[np.arange(len(reward)), self.skill] = reward
