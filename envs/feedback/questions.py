"""Questions of a pupil: it asks about the attempts that it is least sure of, and only these may get feedback."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym.core.course import Course
from kdgym.core.fields import Fields, Layout
from kdgym.envs.feedback.settings import FeedbackSettings
from kdgym.students.practice import Attempts, Practitioners


class TutoringSettings(FeedbackSettings):
    """Arguments of `kdgym.envs.feedback.tutoring.Tutoring`; see there."""

    question_tokens: float = Field(2.0, ge=0, le=1000)
    question_cost: float = Field(0.05, ge=0, le=10)


class Questions:
    """A pupil asks about a share of each group of its attempts, by skill. Its state is passed in.

    Args:
        course: what the pupil learns, K skills.
        students: the pupils' engine.

    Attributes:
        layout: fields of a student's state.
        observation_space: what a teacher sees of them.
    """

    def __init__(self, course: Course[TutoringSettings], students: Practitioners) -> None:
        self.config, self.students, self.skills = course.config, students, len(course.task.skills)
        self._skill_of = course.task.skill_of.to(students.device)
        self.layout: Layout = {"ask": ((self.skills,), torch.float32), "questions": ((), torch.float64)}
        self.observation_space: dict[str, spaces.Space[Any]] = {
            "ask": spaces.Box(0, 1, (self.skills,)),
            "questions": spaces.Box(0, 1, (1,)),
        }

    def begin(self, state: Fields, rows: Tensor) -> None:
        """Start an episode for the students ``rows``, int64 [rows]."""
        for name in self.layout:
            state[name][rows] = 0

    def ask(self, state: Fields, action: Tensor) -> Tensor:
        """Take the pupil's part of an action, [S, K + n]; the tutor's is left, [S, n]."""
        state["ask"][:] = (action[:, : self.skills] + 1) / 2
        return action[:, self.skills :]

    def number(self, state: Fields, problem: Tensor) -> Tensor:
        """About how many attempts of every group the pupil asks: problems [S, B] -> int64 [S, P]."""
        skill = self._skill_of[problem[:, :: self.config.group]]
        return torch.round(state["ask"].gather(1, skill) * self.config.group).long()

    def about(self, state: Fields, tried: Attempts) -> Tensor:
        """The attempts asked about, bool [S, P, G]: the largest mean surprisal of the pupil's own tokens."""
        mine = self.students.written(tried.tokens)
        surprisal = -(tried.log_p * mine).sum(2) / mine.sum(2).clamp_min(1)
        rank = surprisal.view_as(tried.right).argsort(dim=2, descending=True, stable=True).argsort(2)
        return rank < self.number(state, tried.problem).unsqueeze(2)

    def pay(self, state: Fields, problem: Tensor, held: Tensor) -> None:
        """Count the tokens of questions in the groups ``held``, bool [S, P], of attempts at ``problem``, int64 [S, B]."""
        state["questions"][:] += self.config.question_tokens * (self.number(state, problem) * held).sum(1)

    def observe(self, state: Fields) -> dict[str, Tensor]:
        """What is in the boxes of ``observation_space``."""
        return {"ask": state["ask"], "questions": (state["questions"] / self.config.budget).unsqueeze(1)}
