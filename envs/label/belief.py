"""What a recipe makes of the labels of a pool: a target for each item, and how much it is believed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST = 1e-6


def entropy(probability: Tensor) -> Tensor:
    """In nats, over the last axis."""
    return -(probability * (probability + _LEAST).log()).sum(-1)


def votes(label: Tensor, trust: Tensor, classes: int) -> Tensor:
    """Shares of the sources' votes: labels int64 [S, n, M], trust [S, M] -> [S, n, C]."""
    total = torch.zeros(*label.shape[:2], classes, dtype=trust.dtype, device=label.device)
    return total.scatter_add_(2, label, trust.unsqueeze(1).expand(label.shape))


def aligned(said: Tensor, prior: Tensor, power: Tensor) -> Tensor:
    """Probabilities [S, n, C] divided by the prior [S, C] to a power [S], and brought to sum 1 (Berthelot et al., "ReMixMatch",
    ICLR 2020, section 3.1, with an even prior wanted)."""
    moved = said / (prior.unsqueeze(1) + _LEAST) ** power[:, None, None]
    return moved / moved.sum(2, keepdim=True)


def believed(said: Tensor, sure: Tensor, threshold: Tensor, recipe: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Targets of items and their weights.

    Args:
        said: what all makers say together, [S, n, C].
        sure: how sure they are of the likeliest class, [S, n].
        threshold: from which on each class is believed, [S, C].
        recipe: ``low``, ``middle`` and ``soft``, [S] each.

    Returns:
        Targets [S, n, C], from the likeliest class to what is said by ``soft``; weights [S, n], which are 1 from the threshold
        on, ``middle`` from the share ``low`` of it on, and else 0.
    """
    likeliest = said.argmax(2)
    bar = threshold.gather(1, likeliest)
    middle = recipe["middle"].unsqueeze(1) * (sure >= recipe["low"].unsqueeze(1) * bar)
    weight = torch.where(sure >= bar, 1.0, middle)
    return torch.lerp(F.one_hot(likeliest, said.shape[2]).to(said.dtype), said, recipe["soft"][:, None, None]), weight
