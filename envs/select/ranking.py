"""Which items of a pool are kept: ranks of scores, within a class and over all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST_SPREAD = 1e-6


def standardise(feature: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last axis; where all numbers are equal, 0."""
    apart = feature - feature.mean(-1, keepdim=True)
    spread = apart.square().mean(-1, keepdim=True).sqrt()
    return torch.where(spread > _LEAST_SPREAD, apart / spread.clamp_min(_LEAST_SPREAD), 0.0)


def ranks(values: Tensor) -> Tensor:
    """Place of each number in the order of the last axis, 0 is the smallest; of equal ones the first comes first: int64."""
    order = values.argsort(dim=-1, stable=True)
    place = torch.empty_like(order)
    return place.scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))


def rank_correlation(ranks_a: Tensor, ranks_b: Tensor) -> Tensor:
    """Spearman's correlation of two sets of `ranks` over the last axis, which has n numbers without ties: -1 to 1."""
    n = ranks_a.shape[-1]
    apart = (ranks_a - ranks_b).double().square().sum(-1)
    return 1 - 6 * apart / max(1, n * (n * n - 1))


def kept(score: Tensor, label: Tensor, classes: int, keep: Tensor, within: Tensor, tie: Tensor) -> Tensor:
    """Which items have the highest scores: bool [S, n].

    An item's position is the share of items that come before it: of its class, counted ``within``, and of all, counted
    1 - ``within``. Items are kept whose position is below ``keep``. So the first item is always kept.

    Args:
        score: float [S, n].
        label: classes, int64 [S, n].
        classes: how many there are.
        keep: share, above 0 to 1, [S].
        within: 0 to 1, [S].
        tie: of equal scores the larger number comes first, [S, n].
    """
    by_tie = tie.argsort(dim=1, descending=True)
    order = by_tie.gather(1, score.gather(1, by_tie).argsort(dim=1, descending=True, stable=True))
    by_class = F.one_hot(label.gather(1, order), classes)
    before = ((by_class.cumsum(1) - by_class) * by_class).sum(2)
    members = by_class.sum(1).gather(1, label.gather(1, order))
    overall = torch.arange(score.shape[1], device=score.device) / score.shape[1]
    share = within.unsqueeze(1)
    position = share * (before / members) + (1 - share) * overall
    return torch.zeros_like(label, dtype=torch.bool).scatter_(1, order, position < keep.unsqueeze(1))


def draw(weight: Tensor, uniform: Tensor) -> Tensor:
    """Places of items, as likely as their weights say: weights float64 [S, n], not all 0, uniform [S, B] -> int64 [S, B]."""
    reach = weight.cumsum(1)
    last = (weight > 0).double() * torch.arange(weight.shape[1], device=weight.device)
    place = torch.searchsorted(reach, uniform * reach[:, -1:], right=True)
    return torch.minimum(place, last.amax(1, keepdim=True).long())
