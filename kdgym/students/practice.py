"""One round of practice as data: who tried what, in groups of attempts at the same problem, and what a teacher sees of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.reasoner import Reasoners
from kdgym.tasks.scratchpad import ERRORS, Scratchpad

COLUMNS = ("groups", "silent", "right", "guided", "guided_right", "tokens", "surprisal", "feedback", *ERRORS)


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


def attempt(students: Reasoners, task: Scratchpad, state: Tensor, key: Tensor, group: int) -> Attempts:
    """Every student tries one train problem of each skill, in random order, ``group`` times each.

    Args:
        students, task: who tries what.
        state: [S, row].
        key: of problems and attempts, int64 [S].
        group: G.
    """
    pool, skills = task.pool("train"), len(task.skills)
    order = random.bits(random.fold(key, 0), skills).argsort(dim=1)
    start, count = pool.start.to(key.device), pool.count.to(key.device)
    problem = start[order] + random.integers(random.fold(key, 1), skills, count[order])
    shape = len(key), skills * group, task.answer.shape[1]
    tokens, log_p = students.sample(state, problem, uniform(random.fold(key, 2), shape))
    each = problem.repeat_interleave(group, dim=1)
    return Attempts(each, tokens, log_p, task.judge(each, tokens).unflatten(1, (skills, group)))


def uniform(key: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Random numbers in [0, 1): keys int64 [S] -> float64 ``shape``, which begins with S."""
    return random.uniform(key, math.prod(shape[1:])).view(shape)


def written(task: Scratchpad, tokens: Tensor) -> Tensor:
    """Which tokens belong to the answers, the ``.`` included: [..., A] -> bool [..., A]."""
    return torch.arange(tokens.shape[-1], device=tokens.device) < task.length(tokens).unsqueeze(-1)


def tally(task: Scratchpad, tried: Attempts, guided: Tensor, right: Tensor, feedback: Tensor, held: Tensor) -> Tensor:
    """Sums over the groups that were held, by skill: float64 [S, K, columns], see `COLUMNS`.

    Args:
        task: the task.
        tried: the students' own attempts.
        guided: attempts that got feedback, bool [S, P, G].
        right: verdicts after it, bool [S, P, G].
        feedback: tokens of it, int64 [S, P, G].
        held: groups that count, bool [S, P].
    """
    shape, mine = tried.right.shape, written(task, tried.tokens)
    place, kind = task.first_error(tried.problem, tried.tokens)
    wrong = (place < tried.tokens.shape[2]).view(shape) & ~tried.right
    alike = (right == right[:, :, :1]).all(2, keepdim=True) & (torch.arange(shape[2], device=right.device) == 0)
    first = torch.zeros_like(right)
    first[:, :, 0] = True
    columns = [first, alike, tried.right, guided, guided & right, mine.sum(2).view(shape)]
    columns += [-(tried.log_p * mine).sum(2).view(shape), feedback]
    columns += [wrong & (kind.view(shape) == i) for i in range(len(ERRORS))]
    by_group = torch.stack([column.double().sum(2) for column in columns], dim=2) * held.unsqueeze(2)
    skill = task.skill_of.to(held.device)[tried.problem.view(shape)[:, :, 0]]
    empty = torch.zeros(len(held), len(task.skills), len(COLUMNS), dtype=torch.float64, device=held.device)
    return empty.scatter_add(1, skill.unsqueeze(2).expand_as(by_group), by_group)


def summary(total: Tensor, group: int) -> dict[str, Tensor]:
    """A tally as shares, [S, K] each, and ``errors`` [S, K * errors]; 0 where there was nothing to count."""
    column = dict(zip(COLUMNS, total.unbind(2), strict=True))
    attempts = (column["groups"] * group).clamp_min(1)
    return {
        "success": column["right"] / attempts,
        "guided_success": column["guided_right"] / column["guided"].clamp_min(1),
        "no_signal": column["silent"] / column["groups"].clamp_min(1),
        "entropy": column["surprisal"] / column["tokens"].clamp_min(1),
        "errors": (total[:, :, -len(ERRORS) :] / attempts.unsqueeze(2)).flatten(1),
    }
