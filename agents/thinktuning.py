"""ThinkTuning's rule: a fixed fraction of the rollouts gets feedback, whatever the student does (RRV et al., EMNLP 2025).

The paper's teacher points to the mistake and then shows the solution; fraction and shaping formula are not public. Here: a
quarter of each group, wrong attempts only, the right steps from the first wrong one on, advantage-aware shaping.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Agent:
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space

    def act(self, observation: dict[str, Floats]) -> Floats:
        students = len(observation["time"])
        rule = {"which": "wrong", "kind": "next_step", "shaping": "advantage_aware"}
        return np.asarray(self.action_space.encode(students, fraction=0.25, length=1, weight=1, **rule))
