"""A fair coin a skill decides between exploring and exploiting, and exploiting means random allocations: DataEnvGym's
RandomExploreExploitPolicy."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def act(self, observation: dict[str, Floats]) -> Floats:
        students, pairs = observation["open"].shape
        explore = self.rng.random((students, self.action_space.skills)) < 0.5
        wanted = self.rng.random((students, pairs)) * 2 / pairs
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
