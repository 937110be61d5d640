"""LinUCB over the lanes: a linear bandit with an upper confidence bound (Li et al., WWW 2010, algorithm 1, disjoint).

Every student has its own bandit, untrained at the start of an episode. Its reward is the judged score minus money over worth.
"""

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats, Teacher

ALPHA = 0.3


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        students, arms = len(observation["time"]), len(self.action_space.choices["lane"])
        size = self._context(observation).shape[1]
        self.a = np.tile(np.eye(size), (students, arms, 1, 1))
        self.b = np.zeros((students, arms, size))
        self.chosen: tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None = None

    def act(self, observation: dict[str, Floats]) -> Floats:
        context, everyone = self._context(observation), np.arange(len(observation["time"]))
        if self.chosen is not None:
            lane, before = self.chosen
            reward = observation["last"][:, 0] - observation["last"][:, 1]
            self.a[everyone, lane] += before[:, :, None] * before[:, None, :]
            self.b[everyone, lane] += reward[:, None] * before
        inverse = np.linalg.inv(self.a)
        mean = np.einsum("saij,saj,si->sa", inverse, self.b, context)
        width = np.sqrt(np.einsum("si,saij,sj->sa", context, inverse, context))
        lane = (mean + ALPHA * width).argmax(1)
        self.chosen = lane, context
        return np.asarray(self.action_space.encode(len(lane), lane=lane, plan="similar", operation="write"))

    def _context(self, observation: dict[str, Floats]) -> npt.NDArray[np.float64]:
        """A constant, and what is known of the task: [S, d]."""
        known = [observation["uncertainty"], observation["history"][:, :2], observation["memory"][:, [1, 4]]]
        one = np.ones((len(observation["time"]), 1))
        return np.concatenate([one, *known], axis=1).astype(np.float64)
