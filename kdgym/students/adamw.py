"""AdamW on many students at once: one update count, one learning rate share and two moments a student."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class AdamWConfig(Protocol):
    """What the optimiser has to know."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def adamw_step(
    config: AdamWConfig, weight: Tensor, m: Tensor, v: Tensor, updates: Tensor, gradient: Tensor, share: Tensor
) -> None:
    """One AdamW step of S students, in place (Loshchilov and Hutter, ICLR 2019, algorithm 2).

    Args:
        config: learning rate, betas, epsilon, weight decay.
        weight, m, v: weights and both moments, [S, P] each.
        updates: how many steps each student has made, [S, 1].
        gradient: [S, P]; overwritten.
        share: of a full batch, [S, 1]; scales the step. Students with share 0 stay as they are.
    """
    c, active = config, (share > 0).to(weight.dtype)
    updates += active
    t = updates.clamp_min(1)
    rate = c.learning_rate * share
    correction = (1 - c.beta2**t).sqrt()
    m.lerp_(gradient, active * (1 - c.beta1))
    v.lerp_(gradient.square_(), active * (1 - c.beta2))
    # The root of 0 is four times as slow as that of another number, of a subnormal one 30 times; and epsilon hides them.
    root = v.clamp_min(torch.finfo(v.dtype).tiny).sqrt_()
    direction = m / root.add_(c.epsilon * correction)
    if c.weight_decay:
        weight.mul_(1 - rate * c.weight_decay)
    weight.addcmul_(direction, -rate * correction / (1 - c.beta1**t))
