"""A task under other skills than its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym.tasks.base import SPLITS, Pool, Posed, Skill, Task, pools_of

Ints = npt.NDArray[np.int64]


class RegroupedTask(Task):
    """A task under other skills: the same problems, answers, splits and verdicts, with the ids of problems in another order.

    Args:
        task: the task as it is.
        skill: the new skill of every problem, int64 [P]; problems with equal texts have equal skills.
        skills: their descriptions.

    Raises:
        ValueError: a skill has no problems in one of the splits.
    """

    def __init__(self, task: Task, skill: Ints, skills: Sequence[Skill]) -> None:
        self.original = task
        self.name, self.version, self.edition = task.name, task.version, task.edition
        self.pixel_scale, self.free_form, self.answer = task.pixel_scale, task.free_form, task.answer
        self.scenes, self.skills = task.scenes, tuple(skills)
        split = np.empty(len(task.prompt), np.int64)
        for i, name in enumerate(SPLITS):
            pool = task.pool(name)
            for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
                split[start : start + count] = i
        group = skill * len(SPLITS) + split
        count = np.bincount(group, minlength=len(skills) * len(SPLITS)).reshape(len(skills), len(SPLITS))
        if not count.all():
            empty, missing = np.argwhere(count == 0)[0]
            raise ValueError(
                f"The skill {skills[empty].name} has no problems in the split {SPLITS[missing]}; ask for fewer skills."
            )
        self.pools = pools_of(count)
        self._old = torch.from_numpy(np.argsort(group, kind="stable"))
        self.prompt, self.solution = task.prompt[self._old], task.solution[self._old]
        self.scene = None if task.scene is None else task.scene[self._old]
        self.skill_of = torch.from_numpy(skill)[self._old]
        self.answer_pool = self._answers_used()

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        """See `Task.vocabulary`; tasks for language models alone have none."""
        return self.original.vocabulary

    def _answers_used(self) -> Pool:
        """From the smallest to the largest answer that the skill's train problems have."""
        pool = self.pool("train")
        used = [self.solution[s : s + n] for s, n in zip(pool.start.tolist(), pool.count.tolist(), strict=True)]
        first = torch.stack([answers.min() for answers in used])
        return Pool(first, torch.stack([answers.max() for answers in used]) - first + 1)

    def forms(self) -> Tensor:
        """See `Task.forms`."""
        return self.original.forms()[self._old]

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Task.judge`."""
        return self.original.judge(self._old.to(problem.device)[problem], tokens)

    def text(self, problem: int) -> str:
        """See `Task.text`."""
        return self.original.text(int(self._old[problem]))

    def answer_text(self, answer: int) -> str:
        """See `Task.answer_text`."""
        return self.original.answer_text(answer)

    def verify(self, problem: int, text: str) -> bool:
        """See `Task.verify`."""
        return self.original.verify(int(self._old[problem]), text)

    def advice(self, problem: int, kind: str) -> list[str]:
        """See `Task.advice`."""
        return self.original.advice(int(self._old[problem]), kind)

    def write_problem(self, problem: int) -> str | dict[str, Any]:
        """See `Task.write_problem`."""
        return self.original.write_problem(int(self._old[problem]))

    def read_problem(self, problem: str | dict[str, Any]) -> Posed:
        """See `Task.read_problem`."""
        posed = self.original.read_problem(problem)
        return posed._replace(skill=self._skill_of_text[posed.text])

    @cached_property
    def _skill_of_text(self) -> dict[str, int]:
        return {self.text(problem): skill for problem, skill in enumerate(self.skill_of.tolist())}

    def write_tokens(self, tokens: Tensor) -> str:
        """See `Task.write_tokens`."""
        return self.original.write_tokens(tokens)

    def read_answer(self, text: str) -> Tensor:
        """See `Task.read_answer`."""
        return self.original.read_answer(text)
