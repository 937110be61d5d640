"""Data engines that a writing teacher orders real items from: in every skill one is sound, and the others are often wrong.

Which one is sound is hidden, and drawn anew every episode. An engine says the same about a problem whenever it is asked, and
the faulty ones share their wrong answers: that two agree proves nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym import random
from kdgym.envs.datagen.data_engines import another_answer
from kdgym.tasks.base import Task

NAMES = "ABCDEFGHIJKLMNOP"


class Engines:
    """E data engines; the same one may be sound in one skill and faulty in another.

    Args:
        task: whose problems they answer, K skills.
        number: of engines E.
        error_rate: share of the problems that an unsound engine answers wrongly.
        device: where lessons are made.
    """

    def __init__(self, task: Task, number: int, error_rate: float, device: torch.device) -> None:
        self.names, self.error_rate, self._skills = NAMES[:number], error_rate, len(task.skills)
        self._skill, self._solution = task.skill_of.to(device), task.solution.to(device)
        self._first, self._number = task.answer_pool.start.to(device), task.answer_pool.count.to(device)

    def sound(self, key: Tensor) -> Tensor:
        """Which engine makes no mistakes in each skill, keys [S] of episodes -> int64 [S, K]."""
        return random.integers(key, self._skills, len(self.names))

    def answers(self, key: Tensor, engine: Tensor, problem: Tensor) -> Tensor:
        """What engines say to problems.

        Args:
            key: of every student's episode, int64 [S].
            engine: number of an engine, int64 [S, N].
            problem: problem ids, int64 [S, N].

        Returns:
            Answer ids, int64 [S, N].
        """
        skill, right = self._skill[problem], self._solution[problem]
        shared = random.fold(key.unsqueeze(1), problem)
        wrong = another_answer(right, self._first[skill], self._number[skill], random.fold(shared, 0))
        errs = random.to_uniform(random.fold(shared, 1, engine)) < self.error_rate
        return torch.where(errs & (engine != self.sound(key).gather(1, skill)), wrong, right)
