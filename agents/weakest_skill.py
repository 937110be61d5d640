"""All data to the skill the student is worst at: the weak-skill rule of DataEnvGym's Skill-List teacher (section 1.2 of its
paper's agents), at its sharpest. Ignores the goal; among equals the first skill is taken."""

from typing import Any

import numpy as np
import numpy.typing as npt


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        accuracy = observation["accuracy"]
        sources = observation["price"].shape[-1] // accuracy.shape[-1]
        weakest = np.arange(accuracy.shape[-1]) == accuracy.argmin(-1)[..., None]
        return np.asarray(self.action_space.encode(weakest.repeat(sources, axis=-1)))
