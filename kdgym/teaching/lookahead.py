"""Look-ahead on copies of the students: an upper bound, as no teacher may try before it teaches."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kdgym.teaching.base import Floats, Teacher


class Lookahead(Teacher):
    """One step of rollout policy improvement (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997): every candidate is
    tried on a copy of the student, candidate 0 follows until the episode ends, and the one that leaves the least loss is taken.
    """

    upper_bound = True
    candidates: ClassVar[int] = 8

    def act(self, observation: dict[str, Floats]) -> Any:
        """The best of the candidates."""
        actions = np.stack([self.candidate(observation, i) for i in range(self.candidates)], axis=1)
        branches = self.envs.branch(self.candidates)
        after, _, ended, *_ = branches.step(actions.reshape(-1, actions.shape[-1]))
        while not ended.all():
            after, _, ended, *_ = branches.step(self.candidate(after, 0))
        loss = (after["target"] * after["loss"]).sum(-1).reshape(-1, self.candidates)
        return np.asarray(actions[np.arange(len(actions)), loss.argmin(-1)])

    def candidate(self, observation: dict[str, Floats], number: int) -> Floats:
        """A possible action for every student, [S, m]."""
        raise NotImplementedError
