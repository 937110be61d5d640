"""The tiny student's network, S copies at once: forward pass and hand-written backward pass as batched linear algebra.

Shapes: S students, B sequences, V tokens, T prompt tokens, A answer tokens, L = T + A - 1 inputs, d width, H heads, e = d / H.
Weights are one row a student, [S, P]. Only the A answer positions produce an output, so the last block computes queries
and the feed-forward layer there alone.

What the first block computes position by position (norm, queries, keys, values) is a function of a token and its place:
it is computed once for all V * L of those and looked up. Attention shares keys and values between the heads (Shazeer, "Fast
transformer decoding: one write-head is all you need", 2019), which makes it one small matrix product a sequence.

The backward pass is written out because autograd spends most of a tiny network's time on bookkeeping; the tests compare
it with autograd in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-6
_MAX_SCORE = 60.0  # exp(60) is far from overflow in float32, so no maximum has to be subtracted


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network: V, T, A as above; ``layers`` blocks; a feed-forward layer of ``feed_forward`` times d."""

    vocabulary: int
    prompt: int
    answer: int
    width: int = 32
    heads: int = 4
    layers: int = 1
    feed_forward: int = 4

    @property
    def length(self) -> int:
        """Inputs L: the prompt and all answer tokens but the last."""
        return self.prompt + self.answer - 1


def _normalise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Root-mean-square norm over the last axis, and its scale. A gain would be absorbed by the matrix that follows."""
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPSILON)
    return x * scale, scale


def _normalise_backward(gradient: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    return (gradient - y * (gradient * y).mean(-1, keepdim=True)) * scale


@dataclass
class _Kept:
    """What one block's backward pass needs of its forward pass."""

    y: Tensor  # normalised input of the block
    y_scale: Tensor
    q: Tensor  # [S * B, queries * H, e]
    k: Tensor  # [S * B, L, e]
    v: Tensor
    attention: Tensor  # [S * B, queries * H, L]
    mixed: Tensor  # [S, B * queries, d]
    z: Tensor  # normalised input of the feed-forward layer
    z_scale: Tensor
    hidden: Tensor


class Network:
    """Pure functions of (weights, inputs); holds sizes and the causal mask only.

    Args:
        shape: the sizes.
        device: where weights live.
        dtype: floating-point type of weights and activations.
    """

    def __init__(self, shape: NetworkShape, device: torch.device, dtype: torch.dtype) -> None:
        self.shape = shape
        d, hidden, length = shape.width, shape.width * shape.feed_forward, shape.length
        block = [(d, d + 2 * d // shape.heads), (d, d), (d, hidden), (hidden, d)]
        self.matrices = [(shape.vocabulary, d), (length, d), (d, shape.vocabulary), *block * shape.layers]
        self._sizes = [math.prod(matrix) for matrix in self.matrices]
        self.weights = sum(self._sizes)
        self._queries = [length] * (shape.layers - 1) + [shape.answer]
        future = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
        mask = torch.zeros(length, length, dtype=dtype, device=device).masked_fill_(future, -1e4)
        self._masks = {n: mask[length - n :].repeat_interleave(shape.heads, dim=0) for n in set(self._queries)}
        self._floors = {n: (m - _MAX_SCORE) for n, m in self._masks.items()}
        self._ceiling = torch.tensor(_MAX_SCORE, dtype=dtype, device=device)
        self._place = torch.arange(length, device=device)

    def views(self, weights: Tensor) -> list[Tensor]:
        """The matrices of [S, >= P] rows: tokens, positions, output; then Q|K|V, O, W1, W2 of each block."""
        parts = weights[:, : self.weights].split(self._sizes, dim=1)
        return [part.view(len(weights), *matrix) for part, matrix in zip(parts, self.matrices, strict=True)]

    def forward_flops(self) -> int:
        """Floating-point operations of one sequence, two a multiply-add, without the first block's look-up shortcut."""
        n, d = self.shape, self.shape.width
        total = 2 * n.answer * d * n.vocabulary
        for queries in self._queries:
            keys_and_values = n.length * 2 * d // n.heads
            total += 2 * d * (keys_and_values + queries * d * (2 + 2 * n.feed_forward)) + 4 * d * queries * n.length
        return total

    def logits(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Next-token scores at the answer positions: weights [S, P], inputs int64 [S, B, L] -> [S, B, A, V]."""
        matrices = self.views(weights)
        last, _ = self._forward(matrices, inputs, [])
        s, b, _ = inputs.shape
        return (_normalise(last)[0] @ matrices[2]).view(s, b, self.shape.answer, -1)

    def loss_and_gradient(
        self, weights: Tensor, inputs: Tensor, targets: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every sequence, and the gradient of each student's mean over its valid ones.

        Args:
            weights: [S, P].
            inputs: int64 [S, B, L].
            targets: int64 [S, B, A].
            valid: 1 for sequences that count and 0 for filler, [S, B].

        Returns:
            Losses in nats an answer token, [S, B], 0 for filler; gradient [S, P].
        """
        s, b, a = targets.shape
        matrices, kept = self.views(weights), []  # type: tuple[list[Tensor], list[_Kept]]
        x, entry = self._forward(matrices, inputs, kept)
        y, scale = _normalise(x)
        logits = (y @ matrices[2]).view(s, b, a, -1)
        log_p = torch.log_softmax(logits, dim=-1)
        target = targets.unsqueeze(-1)
        loss = -log_p.gather(-1, target).squeeze(-1).mean(-1) * valid
        share = valid / (a * valid.sum(1, keepdim=True).clamp_min(1))
        d_logits = log_p.exp_().scatter_add_(-1, target, torch.full_like(target, -1, dtype=logits.dtype))
        d_logits = (d_logits * share.view(s, b, 1, 1)).view(s, b * a, -1)
        gradients: list[Tensor] = [y.mT @ d_logits]
        dx = _normalise_backward(d_logits @ matrices[2].mT, y, scale)
        for i in reversed(range(self.shape.layers)):
            dx, d_block = self._block_backward(dx, matrices[3 + 4 * i : 7 + 4 * i], kept[i], entry if i == 0 else None)
            gradients[1:1] = d_block
        table = dx.view(s, self.shape.vocabulary, self.shape.length, -1)
        parts = [table.sum(2), table.sum(1), *gradients]
        return loss, torch.cat([part.flatten(1) for part in parts], dim=1)

    def _forward(self, matrices: list[Tensor], inputs: Tensor, kept: list[_Kept]) -> tuple[Tensor, Tensor]:
        """Residual stream at the answer positions [S, B * A, d], and which table entry every input is, [S, B, L]."""
        s, length, v = len(inputs), self.shape.length, self.shape.vocabulary
        entry = inputs * length + self._place
        entry = entry + torch.arange(s, device=inputs.device).view(s, 1, 1) * (v * length)
        x = (matrices[0].unsqueeze(2) + matrices[1].unsqueeze(1)).view(s, v * length, -1)
        for i in range(self.shape.layers):
            x = self._block(x, matrices[3 + 4 * i : 7 + 4 * i], entry if i == 0 else None, inputs.shape[1], kept)
        return x, entry

    def _block(self, x: Tensor, matrices: list[Tensor], entry: Tensor | None, b: int, kept: list[_Kept]) -> Tensor:
        """Pre-norm attention and feed-forward. ``entry`` says that ``x`` is the first block's table of token and place."""
        wqkv, wo, w1, w2 = matrices
        s, d, length = len(x), self.shape.width, self.shape.length
        queries, e = self._queries[len(kept) % self.shape.layers], d // self.shape.heads
        y, y_scale = _normalise(x)
        q, kv = (y @ wqkv).split([d, 2 * e], dim=2)
        if entry is not None:
            last = entry[:, :, length - queries :]
            q, x = F.embedding(last, q.reshape(-1, d)), F.embedding(last, x.reshape(-1, d))
            kv = F.embedding(entry, kv.reshape(-1, 2 * e))
        else:
            q, x = (t.view(s, b, length, d)[:, :, length - queries :] for t in (q, x))
        q = q.reshape(s * b, queries * self.shape.heads, e)
        k, v = kv.reshape(s * b, length, 2 * e).split(e, dim=2)
        score = torch.baddbmm(self._masks[queries], q, k.mT, alpha=e**-0.5)
        attention = score.clamp_(self._floors[queries], self._ceiling).exp_()
        attention = attention / attention.sum(2, keepdim=True)
        mixed = (attention @ v).view(s, b * queries, d)
        x = x.reshape(s, b * queries, d) + mixed @ wo
        z, z_scale = _normalise(x)
        hidden = torch.relu_(z @ w1)
        kept.append(_Kept(y, y_scale, q, k, v, attention, mixed, z, z_scale, hidden))
        return x + hidden @ w2

    def _block_backward(
        self, dx: Tensor, matrices: list[Tensor], kept: _Kept, entry: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """From the gradient of a block's output to that of its input and of its four matrices."""
        wqkv, wo, w1, w2 = matrices
        s, d, length = len(dx), self.shape.width, self.shape.length
        b, e = len(kept.q) // s, d // self.shape.heads
        queries = dx.shape[1] // b
        d_w2 = kept.hidden.mT @ dx
        d_hidden = (dx @ w2.mT).mul_(kept.hidden > 0)
        d_w1 = kept.z.mT @ d_hidden
        dx = dx + _normalise_backward(d_hidden @ w1.mT, kept.z, kept.z_scale)
        d_wo = kept.mixed.mT @ dx
        d_mixed = (dx @ wo.mT).view(s * b, -1, e)
        d_attention = d_mixed @ kept.v.mT
        d_score = d_attention.sub_((d_attention * kept.attention).sum(2, keepdim=True)).mul_(kept.attention)
        d_score.mul_(e**-0.5)
        dq = (d_score @ kept.k).view(s, b, queries, d)
        d_kv = torch.cat([d_score.mT @ kept.q, kept.attention.mT @ d_mixed], dim=2)
        dx = dx.view(s, b, queries, d)
        rows = kept.y.shape[1]
        d_qkv, d_input = dx.new_zeros(s, rows, d + 2 * e), dx.new_zeros(s, rows, d)
        if entry is not None:
            last = entry[:, :, length - queries :].flatten()
            d_qkv.view(-1, d + 2 * e)[:, :d].index_add_(0, last, dq.view(-1, d))
            d_qkv.view(-1, d + 2 * e)[:, d:].index_add_(0, entry.flatten(), d_kv.view(-1, 2 * e))
            d_input.view(-1, d).index_add_(0, last, dx.reshape(-1, d))
        else:
            d_qkv.view(s, b, length, -1)[:, :, length - queries :, :d] = dq
            d_qkv.view(s, b, length, -1)[..., d:] = d_kv.view(s, b, length, -1)
            d_input.view(s, b, length, -1)[:, :, length - queries :] = dx
        d_wqkv = kept.y.mT @ d_qkv
        d_input += _normalise_backward(d_qkv @ wqkv.mT, kept.y, kept.y_scale)
        return d_input, [d_wqkv, d_wo, d_w1, d_w2]
