"""Which items of a pool are kept and drawn: scores, ranks within a class and over all, draws by weight."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST = 1e-6


def standardise(feature: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the last axis; where all numbers are equal, 0."""
    apart = feature - feature.mean(-1, keepdim=True)
    spread = apart.square().mean(-1, keepdim=True).sqrt()
    return torch.where(spread > _LEAST, apart / spread.clamp_min(_LEAST), 0.0)


def ranks(values: Tensor) -> Tensor:
    """Place of each number in the order of the last axis, int64: 0 is the smallest; of equal ones the first comes first."""
    order = values.argsort(dim=-1, stable=True)
    place = torch.empty_like(order)
    return place.scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))


def loss(probability: Tensor, label: Tensor) -> Tensor:
    """Cross entropy of probabilities [..., n, C] with labels int64 [..., n]: [..., n]."""
    return -(probability.gather(-1, label.unsqueeze(-1)).squeeze(-1) + _LEAST).log()


def entropy(probability: Tensor) -> Tensor:
    """In nats, over the last axis."""
    return -(probability * (probability + _LEAST).log()).sum(-1)


def kept(score: Tensor, label: Tensor, classes: int, keep: Tensor, within: Tensor, tie: Tensor) -> Tensor:
    """Which items have the highest scores: bool [S, n].

    An item's position is the share of items that come before it: among those of its class, counted ``within``, and among all,
    counted 1 - ``within``. Items whose position is below ``keep`` are kept. So the first of all is always kept.

    Args:
        score: [S, n].
        label: classes, int64 [S, n].
        classes: how many there are.
        keep: share, above 0 to 1, [S].
        within: 0 to 1, [S].
        tie: of equal scores the larger number comes first, [S, n].
    """
    by_tie = tie.argsort(dim=1, descending=True)
    order = by_tie.gather(1, score.gather(1, by_tie).argsort(dim=1, descending=True, stable=True))
    ordered = label.gather(1, order)
    member = F.one_hot(ordered, classes)
    before = (member.cumsum(1) - member).gather(2, ordered.unsqueeze(2)).squeeze(2)
    in_class = before.double() / member.sum(1).gather(1, ordered)
    overall = torch.arange(score.shape[1], dtype=torch.float64, device=score.device) / score.shape[1]
    position = torch.lerp(overall.expand_as(in_class), in_class, within.double().unsqueeze(1))
    return torch.zeros_like(label, dtype=torch.bool).scatter_(1, order, position < keep.double().unsqueeze(1))


def draw(weight: Tensor, uniform: Tensor) -> Tensor:
    """Items as likely as their weights say: weights float64 [S, n], not all 0, and uniform numbers [S, B] -> int64 [S, B]."""
    reach = weight.cumsum(1)
    last = weight.shape[1] - 1 - (weight > 0).flip(1).long().argmax(1, keepdim=True)
    place = torch.searchsorted(reach, uniform * reach[:, -1:], right=True)
    return torch.minimum(place, last)  # where a product was rounded up to the whole
