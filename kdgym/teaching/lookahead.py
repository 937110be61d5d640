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


class Trials(Teacher):
    """Tries a few actions on copies of the students, each for the next steps, and takes the one that leaves the least loss.

    The copies share the students' randomness.
    """

    upper_bound = True
    ahead: ClassVar[int] = 2  # steps of a trial

    def act(self, observation: dict[str, Floats]) -> Any:
        """The best of the actions."""
        moves, students = self.moves(observation), len(observation["time"])
        branches = self.envs.branch(len(moves))
        for _ in range(min(self.ahead, round(float(observation["time"].max()) * self.envs.steps))):
            after, *_ = branches.step(np.tile(moves, (students, 1)))
        return np.asarray(moves[after["loss"].reshape(students, -1).argmin(1)])

    def moves(self, observation: dict[str, Floats]) -> Floats:
        """The actions, [k, m], the same for every student."""
        raise NotImplementedError
