"""Ask once: pays for a teacher's advice where no note fits the task, writes it down, and relies on the note from then on.

The last tasks are left alone: what is learned there pays off no more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
WORTH_LEARNING = 0.3  # share of the tasks left
SURE = 0.08  # uncertainty below which a student is left alone


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def act(self, observation: dict[str, Floats]) -> Floats:
        unknown = observation["memory"][:, 3] < 0.5  # similarity of the nearest note
        ask = unknown & (observation["time"][:, 0] > WORTH_LEARNING) & (observation["uncertainty"][:, 0] > SURE)
        lane, operation = np.where(ask, "paired", "auto"), np.where(ask, "write", "keep")
        return np.asarray(self.action_space.encode(len(lane), lane=lane, plan="similar", operation=operation))
