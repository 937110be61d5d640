"""Companies of makers of whom one is sound, and labels mixed of all kinds: nothing but the truth tells the sound one.

All are of the kinds `kdgym.students.recipes.bank.ALIKE`. Keys are int64 [R], one a student; see `kdgym.random`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.students.recipes.bank import ALIKE, SOUND, TURNS, Bank, turned

MEMBERS = 5


def draw_kinds(key: Tensor, number: int) -> Tensor:
    """By how much models are turned, in any order: one is sound, and no two are alike; int64 [R, number]."""
    others = 1 + random.uniform(random.fold(key, 0), TURNS - 1).argsort(dim=1)[:, : number - 1]
    kinds = F.pad(others, (1, 0))
    return kinds.gather(1, random.uniform(random.fold(key, 1), number).argsort(dim=1))


def draw_companies(bank: Bank, key: Tensor, companies: int, steps: int) -> tuple[Tensor, Tensor]:
    """Companies in any order, and the steps at which they come.

    Returns:
        Models, int64 [R, companies, MEMBERS]; and steps, int64 [R, companies]: the first at 0, others after equal parts of the
        episode, or a step earlier or later.
    """
    first, models, begins = bank.of(ALIKE[0])[0], [], []
    for turn in range(companies):
        own = random.fold(key, turn)
        copy = random.uniform(random.fold(own, 2), SOUND).argsort(dim=1)[:, :MEMBERS]
        models.append(first + draw_kinds(random.fold(own, 0), MEMBERS) * SOUND + copy)
        about = round(turn * steps / companies)
        begins.append((about + random.integers(random.fold(own, 4), 1, 3).squeeze(1) - 1).clamp_min(turn))
    begins[0] = torch.zeros_like(begins[0])
    return torch.stack(models, dim=1), torch.stack(begins, dim=1)


@lru_cache(maxsize=4)
def all_turned(device: torch.device) -> Tensor:
    """What models of each kind make of every class, int64 [TURNS, C]."""
    return torch.stack([turned(by) for by in range(TURNS)]).to(device)


def draw_labels(key: Tensor, true: Tensor, shares: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Labels of items, each as one of some kinds of models would have it.

    Args:
        key: one a student.
        true: classes, int64 [R, n].
        shares: of the kinds, that add up to 1; they are in any order, and one kind is sound.

    Returns:
        Labels, int64 [R, n]; and which of the shares is that of true labels, int64 [R].
    """
    kinds = draw_kinds(random.fold(key, 0), len(shares))
    bound = torch.tensor(shares, device=key.device).cumsum(0)[:-1]
    which = torch.bucketize(random.uniform(random.fold(key, 1), true.shape[1]), bound)
    return all_turned(key.device)[kinds.gather(1, which), true], (kinds == 0).long().argmax(1)


def check_shares(shares: tuple[float, ...]) -> tuple[float, ...]:
    """The shares, if they are such.

    Raises:
        ValueError: one is below 0, or they do not add up to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares of the labels add up to {sum(shares):g}; give none below 0, and 1 in all")
    return shares
