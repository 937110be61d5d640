"""One round of practice as data: who tried what, in groups of attempts at the same problem, and what a teacher sees of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.base import Students
from kdgym.tasks.feedback import BEHAVIOURS, GivenFeedback

COLUMNS = ("groups", "silent", "right", "guided", "guided_right", "tokens", "surprisal", "feedback")  # then the errors


class Practitioners(Students, Protocol):
    """Students that attempt problems, go on from what a teacher wrote, and learn by policy gradient.

    What they write is tokens int64 [S, B, A] of their own; A has room for an attempt, feedback, and what follows it.
    """

    kinds: tuple[str, ...]  # of feedback they can read
    errors: tuple[str, ...]  # kinds of error told apart in what they write

    @property
    def most_steps(self) -> int:
        """Most steps of feedback."""

    @property
    def attempt_width(self) -> int:
        """Tokens of an attempt without feedback, at most A."""

    def sample(self, state: Tensor, problem: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Attempts from the students' own distributions: tokens [S, P * G, A] and their log-probabilities [S, P * G, A].

        Args:
            state: [S, row].
            problem: int64 [S, P].
            uniform: random numbers in [0, 1), [S, P * G, attempt_width]: G attempts at every problem, side by side.
        """

    def resume(
        self, state: Tensor, problem: Tensor, uniform: Tensor, begun: Tensor, given: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens and log-probabilities [S, B, A] of attempts that go on from the first ``given`` [S, B] tokens of ``begun``;
        those not ``chosen`` [S, B] mean nothing.
        """

    def comment(
        self,
        problem: Tensor,
        tokens: Tensor,
        right: Tensor,
        kind: Tensor,
        length: Tensor,
        said: Callable[[int, int], str] | None = None,
    ) -> GivenFeedback:
        """What the teacher writes into attempts.

        Args:
            problem, tokens, right: the attempts and their verdicts, int64 [S, B], int64 [S, B, A], bool [S, B].
            kind: index into ``kinds``, int64 [S].
            length: steps, from 1 to ``most_steps``, int64 [S].
            said: the teacher's own words to attempt b of student s, in place of the kind; for students that read words.
        """

    def written(self, tokens: Tensor) -> Tensor:
        """Which tokens belong to the answers, the end included: [..., A] -> bool [..., A]."""

    def missteps(self, problem: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Whether there is an error, bool [...], and of which kind the first one is, int64 [...]: an index into ``errors``."""

    def rollout_tokens(self, problem: Tensor, valid: Tensor) -> Tensor:
        """Tokens that learning from attempts reads, problems included: int64 [S, B], bool [S, B, A] -> int64 [S, B]."""

    def log_p(self, state: Tensor, problem: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of attempts int64 [S, B, A] at problems int64 [S, B]."""

    def update(
        self,
        state: Tensor,
        problem: Tensor,
        tokens: Tensor,
        loss: Callable[[Tensor, slice], Tensor],
        active: Tensor,
        learning_rate: float,
        now: Tensor | None = None,
    ) -> None:
        """One AdamW step of the ``active`` students down the gradient of a loss, in place.

        Args:
            state, problem, tokens: [S, row], changed in place; int64 [S, B]; int64 [S, B, A].
            loss: from the log-probabilities [s, B, A] of the tokens of some students, and which these are, to their losses [s].
            active: bool [S].
            learning_rate: of this step.
            now: the log-probabilities [S, B, A], if these very students wrote the tokens.
        """


@dataclass(frozen=True)
class Attempts:
    """What students wrote by themselves: P groups of G attempts, in B = P * G rows.

    Attributes:
        problem: int64 [S, B].
        tokens: int64 [S, B, A].
        log_p: [S, B, A].
        right: verdicts, bool [S, P, G].
    """

    problem: Tensor
    tokens: Tensor
    log_p: Tensor
    right: Tensor


def attempt(students: Practitioners, state: Tensor, key: Tensor, group: int, problems: int | None = None) -> Attempts:
    """Every student tries one train problem of each skill, in random order, ``group`` times each.

    Args:
        students: who tries.
        state: [S, row].
        key: of problems and attempts, int64 [S].
        group: G.
        problems: stop after so many skills; None for all.
    """
    task = students.task
    pool, skills = task.pool("train"), len(task.skills)
    order = random.bits(random.fold(key, 0), skills).argsort(dim=1)
    start, count = pool.start.to(key.device), pool.count.to(key.device)
    problem = (start[order] + random.integers(random.fold(key, 1), skills, count[order]))[:, :problems]
    shape = len(key), problem.shape[1] * group, students.attempt_width
    tokens, log_p = students.sample(state, problem, uniform(random.fold(key, 2), shape))
    each = problem.repeat_interleave(group, dim=1)
    return Attempts(each, tokens, log_p, students.judge(each, tokens).unflatten(1, (-1, group)))


Comments = list[tuple[str, int]]  # words, and the tokens that finding them took
# From what attempts look like in words ("student", "problem", "attempt", "right") and the "behaviour" that is asked for, one of
# `kdgym.tasks.feedback.BEHAVIOURS`, to a comment on each.
Commentator = Callable[[list[dict[str, Any]]], Comments]


def ask(
    students: Practitioners, commentator: Commentator, tried: Attempts, chosen: Tensor, kind: Tensor
) -> dict[tuple[int, int], tuple[str, int]]:
    """What somebody says, in words, to the attempts chosen, bool [S, B]: by student and attempt. It is asked for a kind, [S].

    Raises:
        ValueError: there are not as many comments as attempts.
    """
    places = [(int(s), int(b)) for s, b in chosen.nonzero().tolist()]
    if not places:
        return {}
    words, right = students.text_of(tried.tokens[chosen]), tried.right.flatten(1)
    attempts = [
        {
            "student": s,
            "problem": students.task.text(int(tried.problem[s, b])),
            "attempt": text,
            "right": bool(right[s, b]),
            "behaviour": BEHAVIOURS[students.kinds[int(kind[s])]],
        }
        for (s, b), text in zip(places, words, strict=True)
    ]
    comments = commentator(attempts)
    if len(comments) != len(attempts):
        raise ValueError(
            f"The commentator made {len(comments)} comments on {len(attempts)} attempts; one each is wanted."
        )
    return dict(zip(places, comments, strict=True))


def uniform(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Random numbers in [0, 1): keys int64 [S] -> float64 ``shape``, which begins with S."""
    return random.uniform(key, math.prod(shape[1:])).view(shape)


def tally(
    students: Practitioners, tried: Attempts, guided: Tensor, right: Tensor, feedback: Tensor, held: Tensor
) -> Tensor:
    """Sums over the groups that were held, by skill: float64 [S, K, columns], `COLUMNS` and the errors.

    Args:
        students: who tried.
        tried: the students' own attempts.
        guided: attempts that got feedback, bool [S, P, G].
        right: verdicts after it, bool [S, P, G].
        feedback: tokens of it, int64 [S, P, G].
        held: groups that count, bool [S, P].
    """
    task, shape, mine = students.task, tried.right.shape, students.written(tried.tokens)
    mistaken, kind = students.missteps(tried.problem, tried.tokens)
    wrong = mistaken.view(shape) & ~tried.right
    alike = (right == right[:, :, :1]).all(2, keepdim=True) & (torch.arange(shape[2], device=right.device) == 0)
    first = torch.zeros_like(right)
    first[:, :, 0] = True
    columns = [first, alike, tried.right, guided, guided & right, mine.sum(2).view(shape)]
    columns += [-(tried.log_p * mine).sum(2).view(shape), feedback]
    columns += [wrong & (kind.view(shape) == i) for i in range(len(students.errors))]
    by_group = torch.stack([column.double().sum(2) for column in columns], dim=2) * held.unsqueeze(2)
    skill = task.skill_of.to(held.device)[tried.problem.view(shape)[:, :, 0]]
    empty = torch.zeros(len(held), len(task.skills), by_group.shape[2], dtype=torch.float64, device=held.device)
    return empty.scatter_add(1, skill.unsqueeze(2).expand_as(by_group), by_group)


def summary(total: Tensor, group: int) -> dict[str, Tensor]:
    """A tally as shares, [S, K] each, and ``errors`` [S, K * errors]; 0 where there was nothing to count."""
    column = dict(zip(COLUMNS, total.unbind(2), strict=False))
    attempts = (column["groups"] * group).clamp_min(1)
    return {
        "success": column["right"] / attempts,
        "guided_success": column["guided_right"] / column["guided"].clamp_min(1),
        "no_signal": column["silent"] / column["groups"].clamp_min(1),
        "entropy": column["surprisal"] / column["tokens"].clamp_min(1),
        "errors": (total[:, :, len(COLUMNS) :] / attempts.unsqueeze(2)).flatten(1),
    }
