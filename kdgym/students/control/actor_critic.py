"""S small actor-critics side by side, a row of weights each, trained by PPO (Schulman et al., 2017) in one torch program."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.adamw import adamw_step


@dataclass(frozen=True)
class PPOConfig:
    """Constants of the update.

    Attributes:
        learning_rate, beta1, beta2, epsilon, weight_decay: of AdamW.
        epochs: passes over a batch.
        minibatches: parts of a batch, an AdamW step each.
        clip: probability ratios count within 1 - clip and 1 + clip.
        entropy_coef: weight of the policy's entropy bonus.
        gae_lambda: of generalised advantage estimation.
        max_grad_norm: the actor's and the critic's gradients are scaled down to this norm, each by itself.
    """

    learning_rate: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-5
    weight_decay: float = 0.0
    epochs: int = 4
    minibatches: int = 4
    clip: float = 0.2
    entropy_coef: float = 0.01
    gae_lambda: float = 0.95
    max_grad_norm: float = 0.5


@dataclass(frozen=True)
class RolloutBatch:
    """B steps of each of S students, to learn from.

    Attributes:
        observation: float32 [S, B, inputs].
        action: int64 [S, B].
        log_p: of the actions when they were taken, float32 [S, B].
        advantage, target: estimated advantage of the action; return that the critic learns, float32 [S, B].
    """

    observation: Tensor
    action: Tensor
    log_p: Tensor
    advantage: Tensor
    target: Tensor


class ActorCritics:
    """Two networks a student, actor and critic, of two tanh layers each.

    Args:
        inputs: width of an observation.
        actions: number of actions.
        hidden: width of the layers.
        config: see `PPOConfig`.

    Attributes:
        weights: of a student. Its row holds them, two moments each, and the number of updates.
        row: numbers a student's state consists of.
        flops: floating-point operations of one decision.
    """

    dtype = torch.float32

    def __init__(self, inputs: int, actions: int, hidden: int, config: PPOConfig) -> None:
        self.config, self.actions = config, actions
        self._shapes = [
            (m, n) for outputs in (actions, 1) for m, n in ((inputs, hidden), (hidden, hidden), (hidden, outputs))
        ]
        sizes = [m * n + n for m, n in self._shapes]
        self._sizes, self.weights = sizes, sum(sizes)
        self._actor = sum(sizes[:3])
        self.row = 3 * self.weights + 1
        self.flops = 2.0 * sum(sizes[:3])

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> state [S, row]; actors begin nearly uniform, critics near 0."""
        state = torch.zeros(len(key), self.row, device=key.device)
        noise, begin = random.uniform(key, self.weights).float(), 0
        for layer, ((m, n), size) in enumerate(zip(self._shapes, self._sizes, strict=True)):
            reach = math.sqrt(3 / m) * (0.01 if layer % 3 == 2 else 1.0)
            state[:, begin : begin + m * n] = reach * (2 * noise[:, begin : begin + m * n] - 1)
            begin += size
        return state

    def logits(self, state: Tensor, observation: Tensor) -> Tensor:
        """Unnormalised log-probabilities: state [S, >= weights], observations [S, B, inputs] -> [S, B, actions]."""
        return self._network(state[:, : self._actor], observation, 0)

    def values(self, state: Tensor, observation: Tensor) -> Tensor:
        """The critics' estimates of the discounted return: [S, B, inputs] -> [S, B]."""
        return self._network(state[:, self._actor : self.weights], observation, 3).squeeze(2)

    def _network(self, weights: Tensor, x: Tensor, first: int) -> Tensor:
        layers = range(first, first + 3)
        for layer, part in zip(layers, weights.split(self._sizes[first : first + 3], dim=1), strict=True):
            m, n = self._shapes[layer]
            x = torch.baddbmm(part[:, None, m * n :], x, part[:, : m * n].unflatten(1, (m, n)))
            x = x.tanh() if layer < first + 2 else x
        return x

    def update(self, state: Tensor, batch: RolloutBatch, key: Tensor, active: Tensor) -> None:
        """Learn from a batch, in place.

        Args:
            state: [S, row].
            batch: the steps to learn from.
            key: of the random order of the minibatches, int64 [S].
            active: students that learn, bool [S]; the others stay as they are.
        """
        size, c = batch.action.shape[1], self.config
        share = active.to(self.dtype).unsqueeze(1)
        weights, m, v, updates = state.split([self.weights, self.weights, self.weights, 1], dim=1)
        for epoch in range(c.epochs):
            order = random.bits(random.fold(key, epoch), size).argsort(dim=1)
            for rows in order.chunk(c.minibatches, dim=1):
                gradient = self._gradient(weights, batch, rows)
                adamw_step(c, weights, m, v, updates, gradient, share)

    def _gradient(self, weights: Tensor, batch: RolloutBatch, rows: Tensor) -> Tensor:
        """Of every student's loss on its own part of the batch: rows int64 [S, b] -> [S, weights]."""
        c = self.config
        leaf = weights.detach().clone().requires_grad_()
        observation = batch.observation.gather(1, rows.unsqueeze(2).expand(-1, -1, batch.observation.shape[2]))
        action, old_log_p, advantage, target = (
            part.gather(1, rows) for part in (batch.action, batch.log_p, batch.advantage, batch.target)
        )
        centred = advantage - advantage.mean(1, keepdim=True)
        advantage = centred / (advantage.std(1, keepdim=True) + 1e-8)
        log_p = self.logits(leaf, observation).log_softmax(2)
        ratio = (log_p.gather(2, action.unsqueeze(2)).squeeze(2) - old_log_p).exp()
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - c.clip, 1 + c.clip) * advantage).mean(1)
        entropy = -(log_p.exp() * log_p).sum(2).mean(1)
        value_loss = (self.values(leaf, observation) - target).square().mean(1)
        loss = 0.5 * value_loss - surrogate - c.entropy_coef * entropy
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        for part in gradient.split([self._actor, self.weights - self._actor], dim=1):
            part.mul_(c.max_grad_norm / part.norm(dim=1, keepdim=True).clamp_min(c.max_grad_norm))
        return gradient
