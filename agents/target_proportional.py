"""Each skill gets what it is worth in the end, its sources alike. Looks at the goal, never at the student."""

from typing import Any

import numpy as np
import numpy.typing as npt


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        sources = observation["price"].shape[-1] // observation["target"].shape[-1]
        return np.asarray(self.action_space.encode(observation["target"].repeat(sources, axis=-1)))
