"""Keeps a teacher while the student's validation loss is nearly as low as expected, and otherwise tries a second one.

The two are those that agree best with the given labels among three: the two who most often stand alone, and the best of the
others. Where both disappoint, the one that disappoints less is trusted. When other teachers come, it begins anew. The newest
step counts as much as all earlier ones under the same teacher.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

# The loss of a well-taught student falls from ``FIRST`` towards ``LAST``, by a factor of e in ``PACE`` of the episode.
FIRST, LAST, PACE = 2.45, 0.65, 0.3
PATIENCE = 0.2  # nats above that loss at which the second teacher is tried


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        students, teachers = observation["agreement"].shape
        self.rows, self.seen = np.arange(students), np.full((students, teachers), np.nan)
        self.excess, self.steps = np.zeros((2, students, 2))
        self.tried, self.trusted = np.zeros((students, 2), int), np.zeros(students, int)

    def act(self, observation: dict[str, Floats]) -> Floats:
        expected = LAST + (FIRST - LAST) * np.exp((observation["time"][:, 0] - 1) / PACE)
        self.excess *= 1 - 0.5 * np.eye(2)[self.trusted]
        self.steps *= 1 - 0.5 * np.eye(2)[self.trusted]
        self.excess[self.rows, self.trusted] += observation["loss"][:, 0] - expected
        self.steps[self.rows, self.trusted] += 1
        others = (observation["label_loss"] != self.seen).any(1)
        self.seen = observation["label_loss"].copy()
        self.excess[others] = self.steps[others] = 0
        self.tried[others] = self._candidates(observation)[others]
        mean = np.where(self.steps > 0, self.excess / np.maximum(self.steps, 0.5), PATIENCE)
        self.trusted = mean.argmin(1)
        best = np.eye(len(self.seen[0]))[self.tried[self.rows, self.trusted]]
        return np.asarray(self.action_space.encode(ce=0, forward=3, temperature=1, teacher=best))

    @staticmethod
    def _candidates(observation: dict[str, Floats]) -> np.ndarray:
        agreement, alone = observation["agreement"], observation["peers"].argsort(1).argsort(1) < 2
        inside = np.where(alone, -1, agreement)
        candidate = alone | (np.arange(inside.shape[1]) == inside.argmax(1)[:, None])
        return np.where(candidate, agreement, -1).argsort(1)[:, :-3:-1]
