"""Opens every subskill, then gives all of them the same: the control of the Skill-Tree level."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def act(self, observation: dict[str, Floats]) -> Floats:
        opened = observation["open"]
        explore = (opened.reshape(len(opened), self.action_space.skills, -1) == 0).any(-1)
        equal = np.full_like(opened, 1 / opened.shape[-1])
        return np.asarray(self.action_space.encode(explore, equal, observation["allocation"]))
