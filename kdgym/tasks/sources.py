"""Data engines of unknown quality: what a teacher buys when it buys training items.

In life the items come from generators, crowds or scrapes that differ: some make clean items, some make wrong answers, some
make the same few problems again and again, and the price says nothing about it. Here every skill has a few sources whose
kind is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import Task

PRICES = (1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class SourceKind:
    """How a data engine makes items.

    Attributes:
        name: for people.
        error_rate: share of items whose answer is wrong (a random other answer that fits the skill).
        distinct: number of distinct problems it ever makes; None for all of the split.
    """

    name: str
    error_rate: float = 0.0
    distinct: int | None = None


KINDS = (
    SourceKind("clean"),
    SourceKind("wrong answers", error_rate=0.9),
    SourceKind("near-duplicates", distinct=8),
)


def draw_kinds(key: Tensor, skills: int, sources: int) -> Tensor:
    """Kind of every source, int64 [S, skills, sources]: one clean source a skill, anywhere; the others are each one of
    the bad kinds.
    """
    n = skills * sources
    clean = random.integers(random.fold(key, 0), skills, sources).unsqueeze(2)
    bad = 1 + random.integers(random.fold(key, 1), n, len(KINDS) - 1).view(-1, skills, sources)
    return bad.scatter(2, clean, 0)


def draw_prices(key: Tensor, n: int) -> Tensor:
    """Price of an item from each of n sources, float32 [S, n]."""
    prices = torch.tensor(PRICES, device=key.device)
    return prices[random.integers(key, n, len(PRICES))]


def make_items(
    task: Task, kind: Tensor, count: Tensor, size: int, episode: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Have the sources make a lesson's items, in random order.

    Args:
        task: what is taught; items come from its train split.
        kind: index into `KINDS` of every source, int64 [S, sources]; sources are ordered by skill.
        count: items each source makes, int64 [S, sources].
        size: room N of a lesson, at least every student's total.
        episode: keys [S] that last an episode (a near-duplicate engine repeats itself within one).
        step: keys [S] of this lesson.

    Returns:
        ``(problem, answer, source)``, int64 [S, N]; each student's items stand first, what follows them is filler.
    """
    device, sources = kind.device, kind.shape[1]
    last = count.cumsum(1)
    slot = torch.arange(size, device=device).repeat(len(kind), 1)
    source = torch.searchsorted(last, slot, right=True).clamp_max(sources - 1)
    order = (
        random.uniform(random.fold(step, 0), size).masked_fill(slot >= last[:, -1:], 2.0).argsort(dim=1, stable=True)
    )
    source = source.gather(1, order)
    kinds = kind.gather(1, source)
    skill = source // (sources // len(task.skills))

    pool = task.pool("train")
    pool_start, pool_count = pool.start.to(device)[skill], pool.count.to(device)[skill]
    distinct = torch.tensor([k.distinct or 0 for k in KINDS], device=device)[kinds]
    fresh = random.bits(random.fold(step, 1), size)
    copy = random.integers(random.fold(step, 2), size, distinct.clamp_min(1))
    repeated = random.fold(episode.unsqueeze(1), source, copy)
    index = random.integers(torch.where(distinct > 0, repeated, fresh), 1, pool_count.unsqueeze(2)).squeeze(2)
    problem = pool_start + index

    right = task.solution.to(device)[problem]
    first, number = task.answer_pool.start.to(device)[skill], task.answer_pool.count.to(device)[skill]
    shift = 1 + random.integers(random.fold(step, 3), size, number - 1)
    wrong = first + (right - first + shift) % number
    rate = torch.tensor([k.error_rate for k in KINDS], device=device, dtype=torch.float64)[kinds]
    answer = torch.where(random.uniform(random.fold(step, 4), size) < rate, wrong, right)
    return problem, answer, source
