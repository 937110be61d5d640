"""One update of S small networks whose loss is any function of their weights: batched autograd and AdamW.

Rows are independent, so the gradient of the sum of all losses is every student's own. A state is one row of numbers: weights,
both moments, and the numbers of updates of the network and of its heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.adamw import adamw_step
from kdgym.students.recipes.networks import Architecture, Output, Shapes

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class LearnerConfig:
    """How students learn: AdamW (Loshchilov and Hutter, ICLR 2019)."""

    learning_rate: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0


class Learner:
    """S networks of one architecture, and what they have beside it to learn with.

    Args:
        architecture: of the network itself.
        heads: shapes of further weights, such as projections onto a teacher's features; see `Architecture.shapes`.
        config: how they learn.

    Attributes:
        weights: numbers of the network and its heads.
        row: numbers of a student's state.
    """

    def __init__(
        self, architecture: Architecture, heads: Shapes | None = None, config: LearnerConfig = LearnerConfig()
    ) -> None:
        self.architecture, self.config = architecture, config
        self.shapes: Shapes = {**architecture.shapes, **(heads or {})}
        self.network, self.weights = (
            sum(map(math.prod, shapes.values())) for shapes in (architecture.shapes, self.shapes)
        )
        self.row = 3 * self.weights + 2

    def named(self, state: Tensor) -> Weights:
        """Views of the weights of rows, by name: [S, network], or [S, >= weights] with heads."""
        shapes = self.shapes if state.shape[1] >= self.weights else self.architecture.shapes
        sizes = [math.prod(shape) for shape in shapes.values()]
        parts = state[:, : sum(sizes)].split(sizes, dim=1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    def initialise(self, key: Tensor) -> Tensor:
        """New students, one a key: int64 [S] -> [S, row]."""
        state = torch.zeros(len(key), self.row, device=key.device)
        for i, (name, weight) in enumerate(self.named(state).items()):
            shape = self.shapes[name]
            if len(shape) > 1:
                draw = random.normal(random.fold(key, i), math.prod(shape))
                weight.copy_(draw.unflatten(1, shape) * math.sqrt(2 / math.prod(shape[:-1])))
        return state

    def say(self, state: Tensor, images: Tensor) -> Output:
        """What students say of images [S, B, 196], without gradients."""
        with torch.no_grad():
            return self.architecture.forward(self.named(state), images)

    def update(self, state: Tensor, loss: Callable[[Weights], Tensor], heads: Tensor | None = None) -> Tensor:
        """One update of every student, in place.

        Args:
            state: [S, row].
            loss: weights by name -> loss of each student, [S].
            heads: bool [S], whose heads are in its loss; the others' stay as they are, momentum included. None: nobody's.

        Returns:
            The losses before it, [S].
        """
        named = self.named(state)
        if heads is None:
            named = {name: named[name] for name in self.architecture.shapes}
        with torch.enable_grad():
            leaves = {name: view.detach().requires_grad_() for name, view in named.items()}
            losses = loss(leaves)
            found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
        gradient, n = torch.cat([g.flatten(1) for g in found], dim=1), self.network
        weight, m, v, updates = state.split([self.weights] * 3 + [2], dim=1)
        everyone = torch.ones_like(updates[:, :1])
        adamw_step(self.config, weight[:, :n], m[:, :n], v[:, :n], updates[:, :1], gradient[:, :n], everyone)
        if heads is not None:
            share = heads.to(state.dtype).unsqueeze(1)
            adamw_step(self.config, weight[:, n:], m[:, n:], v[:, n:], updates[:, 1:], gradient[:, n:], share)
        return losses.detach()


def follow(memory: Tensor, weights: Tensor, rate: Tensor) -> None:
    """Move moving averages [S, n] towards weights [S, n], in place: ``rate`` [S] of the old one stays."""
    memory.lerp_(weights, (1 - rate).unsqueeze(1).to(memory.dtype))


def flops_of_update(architecture: Architecture, images: int) -> int:
    """Floating-point operations of an update of one student: forward, and backward as twice that."""
    return 3 * images * architecture.flops
