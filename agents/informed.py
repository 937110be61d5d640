"""Upper bound: knows which sources are clean, and splits by target. It cheats, and says so."""

from typing import Any

import numpy as np
import numpy.typing as npt


class Agent:
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def attach(self, envs: Any) -> None:
        self.envs = envs

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        clean = self.envs.hidden()["kind"] == 0
        target = observation["target"].repeat(clean.shape[-1] // observation["target"].shape[-1], axis=-1)
        return np.asarray(self.action_space.encode(target * clean))
