"""S small decoder-only transformers with stacked weights, trained by one torch program.

A population is one tensor, ``state`` [S, R]: row i holds student i's weights, its two AdamW moments and its number of
updates, so copying, saving or branching a student is copying a row. The functions here read and change that tensor and
keep nothing else.

Shapes: S students, B sequences of a batch, T prompt tokens, A answer tokens, L = T + A - 1 inputs, d width, H heads.
The last block computes queries and the feed-forward layer at the A answer positions only, because no other output is
read. Attention shares keys and values between heads, which makes it one small matrix product a sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import Task

_EVALUATION_BATCH = 64  # sequences; keeps the activations of a population within a core's cache
_ROW_ALIGNMENT = 16  # floats; keeps every student's row on a 64-byte boundary


@dataclass(frozen=True)
class TransformerConfig:
    """Architecture and optimiser of the tiny student.

    Attributes:
        width: model width d.
        heads: attention heads H; divides ``width``.
        layers: number of blocks.
        feed_forward: width of the hidden layer, in units of d.
        batch: sequences B of one update.
        learning_rate, beta1, beta2, epsilon, weight_decay: AdamW (Loshchilov and Hutter, ICLR 2019, algorithm 2).
    """

    width: int = 32
    heads: int = 4
    layers: int = 1
    feed_forward: int = 4
    batch: int = 16
    learning_rate: float = 4e-3
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    weight_decay: float = 0.01


def _rms_norm(x: Tensor) -> Tensor:
    """Root-mean-square norm; its gain would be absorbed by the matrix that always follows."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class TransformerStudents:
    """The engine of `kdgym.students.base.Students` for tiny transformers on one task.

    Args:
        task: what is taught; fixes the vocabulary and the lengths.
        config: architecture and optimiser.
        device: where the population lives, for example ``"cpu"`` or ``"cuda"``.
        dtype: floating-point type of weights and activations.
    """

    def __init__(
        self,
        task: Task,
        config: TransformerConfig = TransformerConfig(),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.task, self.config, self.dtype = task, config, dtype
        self.device = torch.device(device)
        self.prompt, self.answer, self.solution = (t.to(self.device) for t in (task.prompt, task.answer, task.solution))
        self.prompt_length, self.answer_length = self.prompt.shape[1], self.answer.shape[1]
        d, hidden = config.width, config.width * config.feed_forward
        block = [(d, d + 2 * d // config.heads), (d, d), (d, hidden), (hidden, d)]
        length = self.prompt_length + self.answer_length - 1
        self._shapes = [(task.vocabulary, d), (length, d), (d, task.vocabulary), *block * config.layers]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.weights = sum(self._sizes)
        self._stride = -(-self.weights // _ROW_ALIGNMENT) * _ROW_ALIGNMENT
        self.row = 3 * self._stride + _ROW_ALIGNMENT
        future = torch.ones(length, length, dtype=torch.bool, device=self.device).triu(1)
        hidden_from = torch.zeros(length, length, dtype=dtype, device=self.device).masked_fill_(future, -1e4)
        self._mask = {
            n: hidden_from[length - n :].repeat_interleave(config.heads, dim=0) for n in (length, self.answer_length)
        }
        self.forward_flops = self._count_flops()
        self.tokens_per_item = length + 1

    # --- state ---------------------------------------------------------------------------------------------------

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> state [S, row]. Gains 1, matrices N(0, 1 / inputs)."""
        state = torch.zeros(len(key), self.row, dtype=self.dtype, device=self.device)
        for i, (view, shape) in enumerate(zip(self._views(state), self._shapes, strict=True)):
            scale = 0.3 if i < 2 else shape[0] ** -0.5
            u = random.uniform(random.fold(key, i), 2 * math.prod(shape)).view(len(key), 2, *shape)
            normal = torch.sqrt(-2 * torch.log1p(-u[:, 0])) * torch.cos(2 * math.pi * u[:, 1])  # Box-Muller
            view.copy_(normal * scale)
        return state

    def _views(self, state: Tensor) -> list[Tensor]:
        parts = state[:, : self.weights].split(self._sizes, dim=1)
        return [part.view(len(state), *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    # --- learning ------------------------------------------------------------------------------------------------

    def train(self, state: Tensor, problem: Tensor, answer: Tensor, count: Tensor) -> Tensor:
        """One pass of AdamW over each student's items, in place.

        Args:
            state: [S, row], changed in place.
            problem: problem ids, int64 [S, N].
            answer: ids of the answers to learn, int64 [S, N]; they may be wrong.
            count: how many of the N items student i has, int64 [S]; items from ``count[i]`` on are ignored. A last batch
                that is not full makes a proportionally smaller step.

        Returns:
            Loss of every item just before the update that used it (nats an answer token), [S, N]; 0 where ignored.
        """
        size = self.config.batch
        losses = torch.zeros(problem.shape, dtype=self.dtype, device=self.device)
        slot = torch.arange(size, device=self.device)
        for begin in range(0, int(count.max()), size):
            part = slice(begin, begin + size)
            targets = self.answer[answer[:, part]]
            inputs = self._inputs(problem[:, part], targets)
            valid = (slot[: targets.shape[1]] < (count - begin)[:, None]).to(self.dtype)
            gradient, losses[:, part] = self._loss_and_gradient(state[:, : self.weights], inputs, targets, valid)
            self._adamw(state, gradient, valid.sum(1, keepdim=True) / size)
        return losses

    def _loss_and_gradient(self, weights: Tensor, inputs: Tensor, targets: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        weights = weights.detach().requires_grad_()
        loss = self._cross_entropy(self._forward(weights, inputs), targets) * valid
        mean = (loss.sum(1) / valid.sum(1).clamp_min(1)).sum()
        (gradient,) = torch.autograd.grad(mean, weights)
        return gradient, loss.detach()

    def _adamw(self, state: Tensor, gradient: Tensor, share: Tensor) -> None:
        """One AdamW step, scaled by ``share`` [S, 1] of a full batch; students with share 0 stay as they are."""
        c, p, n = self.config, self.weights, self._stride
        weight, m, v = state[:, :p], state[:, n : n + p], state[:, 2 * n : 2 * n + p]
        updates = state[:, 3 * n : 3 * n + 1]
        active = (share > 0).to(self.dtype)
        updates += active
        t = updates.clamp_min(1)
        rate = c.learning_rate * share
        correction = (1 - c.beta2**t).sqrt()
        m.lerp_(gradient, active * (1 - c.beta1))
        v.lerp_(gradient.square_(), active * (1 - c.beta2))
        direction = m / v.sqrt().add_(c.epsilon * correction)
        weight.mul_(1 - rate * c.weight_decay).addcmul_(direction, -rate * correction / (1 - c.beta1**t))

    # --- examination ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Exact match and loss on problems, unaided.

        One teacher-forced pass decides exact match: greedy decoding reproduces the solution if and only if every
        solution token is the most likely one given the solution tokens before it.

        Args:
            problem: problem ids, int64 [S, N].

        Returns:
            ``(right, loss)``: bool [S, N], and nats an answer token [S, N].
        """
        right, loss = [], []
        for part in problem.split(_EVALUATION_BATCH, dim=1):
            targets = self.answer[self.solution[part]]
            logits = self._forward(state[:, : self.weights], self._inputs(part, targets))
            right.append((logits.argmax(-1) == targets).all(-1))
            loss.append(self._cross_entropy(logits, targets))
        return torch.cat(right, dim=1), torch.cat(loss, dim=1)

    @torch.no_grad()
    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        """Greedy answers token by token: problem ids [S, N] -> tokens int64 [S, N, A]."""
        answers = torch.zeros(*problem.shape, self.answer_length, dtype=torch.int64, device=self.device)
        for a in range(self.answer_length):
            logits = self._forward(state[:, : self.weights], self._inputs(problem, answers))
            answers[:, :, a] = logits.argmax(-1)[:, :, a]
        return answers

    # --- the model -----------------------------------------------------------------------------------------------

    def _inputs(self, problem: Tensor, answers: Tensor) -> Tensor:
        return torch.cat([self.prompt[problem], answers[..., :-1]], dim=-1)

    @staticmethod
    def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over answer tokens: logits [S, B, A, V], targets [S, B, A] -> [S, B]."""
        picked = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        return (torch.logsumexp(logits, dim=-1) - picked).mean(-1)

    def _forward(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Logits at the answer positions: weights [S, P], inputs int64 [S, B, L] -> [S, B, A, V].

        What the first block computes position by position (norm, queries, keys, values) is a function of the token and its
        place, so it is computed once for all V * L of those and looked up.
        """
        token, position, unembed, *blocks = self._views(weights)
        s, b, length = inputs.shape
        v, d = token.shape[1:]
        entry = inputs * length + torch.arange(length, device=inputs.device)
        entry = entry + torch.arange(s, device=inputs.device).view(s, 1, 1) * (v * length)
        x = (token.unsqueeze(2) + position.unsqueeze(1)).view(s, v * length, d)
        for i in range(self.config.layers):
            wqkv, wo, w1, w2 = blocks[4 * i : 4 * i + 4]
            queries = self.answer_length if i == self.config.layers - 1 else length
            q, kv = (_rms_norm(x) @ wqkv).split([d, wqkv.shape[2] - d], dim=2)
            if i == 0:
                kv = F.embedding(entry, kv.reshape(s * v * length, -1))
                q, x = (F.embedding(entry[:, :, length - queries :], t.reshape(s * v * length, d)) for t in (q, x))
            else:
                kv = kv.view(s, b, length, -1)
                q, x = (t.view(s, b, length, d)[:, :, length - queries :] for t in (q, x))
            x = x.reshape(s, b * queries, d) + self._attend(q, kv).view(s, b * queries, d) @ wo
            x = x + torch.relu(_rms_norm(x) @ w1) @ w2
        return (_rms_norm(x) @ unembed).view(s, b, -1, v)

    def _attend(self, q: Tensor, kv: Tensor) -> Tensor:
        """Causal multi-query attention: q [S, B, queries, d], kv [S, B, L, 2d/H] -> [S, B, queries, d].

        Heads share their keys and values (Shazeer, "Fast transformer decoding: one write-head is all you need", 2019), so
        one small matrix product a sequence serves all of them. The clamp replaces the usual subtraction of the maximum.
        """
        s, b, queries, d = q.shape
        e = d // self.config.heads
        k, v = kv.reshape(s * b, -1, 2 * e).split(e, dim=2)
        score = torch.baddbmm(self._mask[queries], q.reshape(s * b, -1, e), k.transpose(1, 2), alpha=e**-0.5)
        share = score.clamp(-60, 60).exp()
        return (share @ v / share.sum(2, keepdim=True)).view(s, b, queries, d)

    def _count_flops(self) -> int:
        """Floating-point operations of one forward pass of one sequence (2 a multiply-add); training costs 3 of them."""
        c, a = self.config, self.answer_length
        length, d = self.prompt_length + a - 1, c.width
        total = 2 * a * d * self.task.vocabulary
        for i in range(c.layers):
            queries = a if i == c.layers - 1 else length
            keys_and_values = length * 2 * d // c.heads
            total += 2 * d * (keys_and_values + queries * d * (2 + 2 * c.feed_forward)) + 4 * d * queries * length
        return total
