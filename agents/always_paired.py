"""A teacher-model validates every answer, whatever the task: a fixed lane, with notes written after and read before each."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def act(self, observation: dict[str, Floats]) -> Floats:
        students = len(observation["time"])
        return np.asarray(self.action_space.encode(students, lane="paired", plan="similar", operation="write"))
