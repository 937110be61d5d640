"""What a recipe makes of the labels of a pool: a target for each item, its weight, and the loss of an update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym.students.recipes.engine import Learner, Weights
from kdgym.students.recipes.networks import Shapes, affine, log_softmax
from kdgym.tasks.images import CLASSES
from kdgym.tasks.images.corpus import SIDE

C = len(CLASSES)
_LEAST = 1e-6


def heads(stages: tuple[int, ...]) -> Shapes:
    """Weights that students have beside their network: a layer for pairs of labels."""
    return {"matrix_pairs": (stages[-1], C * C), "bias_pairs": (C * C,)}


def remembered(learner: Learner, memory: Tensor, images: Tensor) -> Tensor:
    """Probabilities that memories [S, network] give to images [S, n, 196]: [S, n, C]; a diverged one is sure of nothing."""
    logits = learner.say(memory, images).logits
    return torch.nan_to_num(torch.softmax(logits, dim=2), nan=1 / C)


def _log_softmax(logits: Tensor) -> Tensor:
    """`log_softmax`, whose values and gradients lie in memory class by class, as sums and products round by that."""
    if logits.requires_grad:
        logits.register_hook(Tensor.contiguous)
    return log_softmax(logits).contiguous()


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


def made(
    own: Callable[[Tensor], Tensor],
    prior: Tensor,
    images: Tensor,
    label: Tensor,
    recipe: Mapping[str, Tensor],
    threshold: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Targets, weights and pairs of labels of items, from what makers say.

    Args:
        own: the memories' probabilities of images, see `remembered`.
        prior: of these, [S, C].
        images: [S, n, 196].
        label: of the sources, int64 [S, n, M].
        recipe: values of the dials.
        threshold: from which on each class is believed, [S, C].

    Returns:
        Targets [S, n, C] and weights [S, n], see `believed`; and the pairs' numbers, int64 [S, n].
    """
    said = elected = mine = votes(label, recipe["source"], C)
    if any(recipe[name].any() for name in ("own", "views", "sublabels")):
        mine = own(images)
        said = torch.lerp(elected, aligned(mine, prior, recipe["align"]), recipe["own"][:, None, None])
    sure, likeliest = said.max(2)
    if recipe["views"].any():
        again = own(images.unflatten(2, (SIDE, SIDE)).roll(1, dims=3).flatten(2))
        least = torch.minimum(sure, again.gather(2, likeliest.unsqueeze(2)).squeeze(2))
        sure = torch.lerp(sure, least, recipe["views"].unsqueeze(1))
    return *believed(said, sure, threshold, recipe), elected.argmax(2) * C + mine.argmax(2)


@dataclass(frozen=True)
class Batch:
    """What an update is made of: K items whose labels are known, and n of the pool.

    Attributes:
        learner: the networks.
        images: [S, K + n, 196].
        told: known labels, int64 [S, K].
        known: their weights, [S, K].
        target: of the others, [S, n, C].
        weight: of these, [S, n].
        pair: their pairs of labels, int64 [S, n].
        recipe: ``sublabels`` [S].
    """

    learner: Learner
    images: Tensor
    told: Tensor
    known: Tensor
    target: Tensor
    weight: Tensor
    pair: Tensor
    recipe: Mapping[str, Tensor]

    def loss(self, w: Weights) -> Tensor:
        """Of the students, [S]."""
        said = self.learner.architecture.forward(w, self.images)
        k = self.told.shape[1]
        right = torch.cat([F.one_hot(self.told, C).to(self.target.dtype), self.target], dim=1)
        share = torch.cat([self.known, self.weight / self.weight.shape[1]], dim=1)
        total = -(share.unsqueeze(2) * right * _log_softmax(said.logits)).sum((1, 2))
        if "matrix_pairs" in w:
            pairs = torch.log_softmax(affine(w, said.hidden[-1][:, k:], "pairs"), dim=2)
            total = total - self.recipe["sublabels"] * pairs.gather(2, self.pair.unsqueeze(2)).mean((1, 2))
        return total

    def known_loss(self, w: Weights) -> Tensor:
        """Of the items whose labels are known, [S]."""
        k = self.told.shape[1]
        said = _log_softmax(self.learner.architecture.forward(w, self.images[:, :k]).logits)
        return -(self.known * said.gather(2, self.told.unsqueeze(2)).squeeze(2)).sum(1)

    def slope(self, memory: Tensor, gained: Tensor) -> Tensor:
        """Gradient [S, network] at memories of their loss on known labels, and of ``gained`` [S] times that on their own labels
        of the pool (Pham et al., "Meta pseudo labels", CVPR 2021, section 3 and appendix A)."""
        learner, k = self.learner, self.told.shape[1]
        with torch.enable_grad():
            leaves = {name: weight.detach().requires_grad_() for name, weight in learner.named(memory).items()}
            said = _log_softmax(learner.architecture.forward(leaves, self.images[:, k:]).logits)
            total = self.known_loss(leaves) - gained * said.max(2).values.mean(1)
            found = torch.autograd.grad(total.sum(), list(leaves.values()))
        return torch.cat([g.flatten(1) for g in found], dim=1)
