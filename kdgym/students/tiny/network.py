"""The tiny student's network, S copies at once: forward pass and hand-written backward pass as batched linear algebra.

Shapes: S students, B sequences, V tokens, n patches of p pixels, T prompt tokens, A answer tokens, L = n + T + A - 1 inputs,
d width, H heads, e = d / H. Weights are one row a student, [S, P]. Only the A answer positions produce an output, so the last
block computes queries and the feed-forward layer there alone.

An image comes first in a sequence, as patches under a linear embedding (Dosovitskiy et al., "An image is worth 16x16 words",
2021). Attention shares keys and values between the heads (Shazeer, "Fast transformer decoding: one write-head is all you
need", 2019), which makes it one small matrix product a sequence.

This is the reference: it runs on every device in every floating-point type, and nothing in it asks for a tensor's values, so
that a GPU can record it. The backward pass is written out because autograd spends most of a tiny network's time on
bookkeeping; the tests compare it with autograd in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding

_EPSILON = 1e-6
_MAX_SCORE = 60.0  # exp(60) is far from overflow in float32, so no maximum has to be subtracted


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network: V, T, A, n, p as above; ``layers`` blocks; a feed-forward layer of ``feed_forward`` times d."""

    vocabulary: int
    prompt: int
    answer: int
    width: int = 32
    heads: int = 4
    layers: int = 1
    feed_forward: int = 4
    patches: int = 0
    pixels: int = 0

    @property
    def length(self) -> int:
        """Inputs L: the patches, the prompt and all answer tokens but the last."""
        return self.patches + self.prompt + self.answer - 1


def _normalise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Root-mean-square norm over the last axis, and its scale. A gain would be absorbed by the matrix that follows."""
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPSILON)
    return x * scale, scale


def _normalise_backward(gradient: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    return (gradient - y * (gradient * y).mean(-1, keepdim=True)) * scale


def attend(q: Tensor, k: Tensor) -> Tensor:
    """Attention before it is masked and sums to one: [N, n, e], [N, m, e] -> [N, n, m].

    What is masked is multiplied by 0 afterwards: exp of very negative numbers takes several times as long as of others.
    """
    nothing = torch.zeros((), dtype=q.dtype, device=q.device)
    score = torch.baddbmm(nothing, q, k.mT, beta=0, alpha=q.shape[2] ** -0.5)
    return score.clamp_(-_MAX_SCORE, _MAX_SCORE).exp_()


@dataclass
class _Kept:
    """What one block's backward pass needs of its forward pass."""

    y: Tensor  # normalised input of the block
    y_scale: Tensor
    y_last: Tensor  # at the positions that ask
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
        self.matrices += [(shape.pixels, d)] if shape.patches else []
        self._sizes = [math.prod(matrix) for matrix in self.matrices]
        self.weights = sum(self._sizes)
        self._queries = [length] * (shape.layers - 1) + [shape.answer]
        self.past = torch.ones(length, length, dtype=dtype, device=device).tril()
        self._pasts = {n: self.past[length - n :].repeat_interleave(shape.heads, dim=0) for n in set(self._queries)}
        self._vocabulary = torch.arange(shape.vocabulary, device=device)

    def views(self, weights: Tensor) -> list[Tensor]:
        """The matrices of [S, >= P] rows: tokens, positions, output; Q|K|V, O, W1, W2 of each block; patches."""
        parts = weights[:, : self.weights].split(self._sizes, dim=1)
        return [part.view(len(weights), *matrix) for part, matrix in zip(parts, self.matrices, strict=True)]

    def forward_flops(self) -> int:
        """Floating-point operations of the matrix products of one sequence, two a multiply-add."""
        n, d = self.shape, self.shape.width
        total = 2 * n.answer * d * n.vocabulary + 2 * n.patches * n.pixels * d
        for queries in self._queries:
            keys_and_values = n.length * 2 * d // n.heads
            total += 2 * d * (keys_and_values + queries * d * (2 + 2 * n.feed_forward)) + 4 * d * queries * n.length
        return total

    def logits(self, weights: Tensor, inputs: Tensor, image: Tensor | None = None) -> Tensor:
        """Next-token scores at the answer positions, [S, B, A, V].

        Args:
            weights: [S, P].
            inputs: prompt and answer tokens, int64 [S, B, T + A - 1].
            image: patches [S, B, n, p], where the shape has any.
        """
        last = self.features(weights, inputs, image, self.shape.layers)
        scores: Tensor = _normalise(last.flatten(1, 2))[0] @ self.views(weights)[2]
        return scores.view(*inputs.shape[:2], self.shape.answer, -1)

    def features(self, weights: Tensor, inputs: Tensor, image: Tensor | None, layer: int) -> Tensor:
        """The residual stream after the first ``layer`` blocks at the answer positions, [S, B, A, d]; see `logits`."""
        matrices = self.views(weights)
        x, _ = self._embed(matrices, inputs, image)
        x = self._forward(x, matrices[: 3 + 4 * layer], inputs.shape[1], [])
        return x.view(*inputs.shape[:2], -1, self.shape.width)[:, :, -self.shape.answer :]

    def loss_and_gradient(
        self,
        weights: Tensor,
        inputs: Tensor,
        targets: Tensor,
        valid: Tensor,
        image: Tensor | None = None,
        weight: Tensor | None = None,
        soft: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every sequence, and the gradient of each student's weighted sum over its valid ones by their number.

        Args:
            weights: [S, P].
            inputs: int64 [S, B, T + A - 1].
            targets: int64 [S, B, A].
            valid: 1 for sequences that count and 0 for filler, [S, B].
            image: patches [S, B, n, p], where the shape has any.
            weight: of each sequence, finite, [S, B]; None for 1.
            soft: see `gradient`.

        Returns:
            Losses in nats an answer token, without the weight, [S, B], 0 for filler; gradient [S, P].
        """
        a = targets.shape[2]
        share = (valid / (a * valid.sum(1, keepdim=True).clamp_min(1))).unsqueeze(2)
        if weight is not None:
            share = share * weight.unsqueeze(2)
        log_p, gradient = self.gradient(weights, inputs, targets, lambda log_p: -share.expand_as(log_p), image, soft)
        return -log_p.mean(-1) * valid, gradient

    def gradient(
        self,
        weights: Tensor,
        inputs: Tensor,
        targets: Tensor,
        slope: Callable[[Tensor], Tensor],
        image: Tensor | None = None,
        soft: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the targets, [S, B, A], and the gradient [S, P] of any function of them.

        Args:
            weights, inputs, targets, image: see `loss_and_gradient`.
            slope: from the log-probabilities to the function's derivative by each of them, both [S, B, A].
            soft: distributions of targets [S, B, A, V], in place of ``targets``; log-probabilities are then expected ones.
        """
        s, b, a = targets.shape
        matrices, kept = self.views(weights), []  # type: tuple[list[Tensor], list[_Kept]]
        x, letters = self._embed(matrices, inputs, image)
        x = self._forward(x, matrices, b, kept)
        y, scale = _normalise(x)
        logits = (y @ matrices[2]).view(s, b, a, -1)
        all_log_p = torch.log_softmax(logits, dim=-1)
        target = targets.unsqueeze(-1)
        if soft is None:
            log_p = all_log_p.gather(-1, target).squeeze(-1)
            d_logits = all_log_p.exp_().scatter_add_(-1, target, torch.full_like(target, -1, dtype=logits.dtype))
        else:
            log_p = (soft * all_log_p).sum(-1)
            d_logits = all_log_p.exp_().sub_(soft)
        d_logits = (d_logits * -slope(log_p).unsqueeze(-1)).view(s, b * a, -1)
        gradients: list[Tensor] = [y.mT @ d_logits]
        dx = _normalise_backward(d_logits @ matrices[2].mT, y, scale)
        for i in reversed(range(self.shape.layers)):
            dx, d_block = self._block_backward(dx, matrices[3 + 4 * i : 7 + 4 * i], kept[i])
            gradients[1:1] = d_block
        first, patches = self._embed_backward(dx.view(s, b, self.shape.length, -1), letters, image)
        return log_p, torch.cat([part.flatten(1) for part in [*first, *gradients, *patches]], dim=1)

    def _embed(self, matrices: list[Tensor], inputs: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor]:
        """The residual stream at all positions [S, B * L, d], and the tokens one-hot, [S, B * (T + A - 1), V].

        Products instead of look-ups, because their gradient is a product too: a scatter would add up in any order on a GPU.
        """
        letters = (inputs.flatten(1).unsqueeze(-1) == self._vocabulary).to(matrices[0].dtype)
        x = (letters @ matrices[0]).unflatten(1, inputs.shape[1:])
        if image is not None:
            x = torch.cat([(image.flatten(1, 2) @ matrices[-1]).unflatten(1, image.shape[1:3]), x], dim=2)
        return (x + matrices[1].unsqueeze(1)).flatten(1, 2), letters

    def _embed_backward(self, dx: Tensor, letters: Tensor, image: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        """From [S, B, L, d] to the gradients of tokens and positions, and of the patches' matrix, if there is one."""
        n = self.shape.patches
        d_patches = [] if image is None else [image.flatten(1, 2).mT @ dx[:, :, :n].flatten(1, 2)]
        return [letters.mT @ dx[:, :, n:].flatten(1, 2), dx.sum(1)], d_patches

    def _forward(self, x: Tensor, matrices: list[Tensor], b: int, kept: list[_Kept]) -> Tensor:
        """Residual stream: all positions [S, B * L, d] -> the same after these blocks; after the last, only the answer's."""
        for i in range((len(matrices) - 3) // 4):
            x = self._block(x, matrices[3 + 4 * i : 7 + 4 * i], b, kept)
        return x

    def _block(self, x: Tensor, matrices: list[Tensor], b: int, kept: list[_Kept]) -> Tensor:
        """Pre-norm attention and feed-forward."""
        wqkv, wo, w1, w2 = matrices
        s, d, length = len(x), self.shape.width, self.shape.length
        queries, e = self._queries[len(kept)], d // self.shape.heads
        y, y_scale = _normalise(x)
        y_last, x = (t.view(s, b, length, d)[:, :, length - queries :].flatten(1, 2) for t in (y, x))
        q = (y_last @ wqkv[:, :, :d]).view(s * b, queries * self.shape.heads, e)
        k, v = (y @ wqkv[:, :, d:]).view(s * b, length, 2 * e).split(e, dim=2)
        attention = attend(q, k) * self._pasts[queries]
        attention = attention / attention.sum(2, keepdim=True)
        mixed = (attention @ v).view(s, b * queries, d)
        x = x + mixed @ wo
        z, z_scale = _normalise(x)
        hidden = torch.relu_(z @ w1)
        kept.append(_Kept(y, y_scale, y_last, q, k, v, attention, mixed, z, z_scale, hidden))
        return x + hidden @ w2

    def _block_backward(self, dx: Tensor, matrices: list[Tensor], kept: _Kept) -> tuple[Tensor, list[Tensor]]:
        """From the gradient of a block's output to that of its input and of its four matrices."""
        wqkv, wo, w1, w2 = matrices
        s, d, length = len(dx), self.shape.width, self.shape.length
        b, e = len(kept.q) // s, d // self.shape.heads
        queries = dx.shape[1] // b
        d_w2 = kept.hidden.mT @ dx
        d_hidden = (dx @ w2.mT).mul_(kept.hidden.sign())
        d_w1 = kept.z.mT @ d_hidden
        dx = dx + _normalise_backward(d_hidden @ w1.mT, kept.z, kept.z_scale)
        d_wo = kept.mixed.mT @ dx
        d_mixed = (dx @ wo.mT).view(s * b, -1, e)
        d_attention = d_mixed @ kept.v.mT
        d_score = d_attention.sub_((d_attention * kept.attention).sum(2, keepdim=True)).mul_(kept.attention)
        d_score.mul_(e**-0.5)
        dq = (d_score @ kept.k).view(s, b * queries, d)
        d_kv = torch.cat([d_score.mT @ kept.q, kept.attention.mT @ d_mixed], dim=2).view(s, b * length, 2 * e)
        d_wqkv = torch.cat([kept.y_last.mT @ dq, kept.y.mT @ d_kv], dim=2)
        dy, d_input = d_kv @ wqkv[:, :, d:].mT, torch.zeros_like(kept.y)
        for whole, last in ((dy, dq @ wqkv[:, :, :d].mT), (d_input, dx)):
            whole.view(s, b, length, d)[:, :, length - queries :] += last.view(s, b, queries, d)
        d_input += _normalise_backward(dy, kept.y, kept.y_scale)
        return d_input, [d_wqkv, d_wo, d_w1, d_w2]


class Cache:
    """Keys and values of what students have read so far, so that the next token costs one position and not all of them.

    Args:
        network: whose forward pass this is, one token at a time.
        weights: [S, P].
        prompt: tokens read at first, int64 [S, B, T].
        copies: continuations of every prompt, G; they share what was read.
    """

    def __init__(self, network: Network, weights: Tensor, prompt: Tensor, copies: int = 1) -> None:
        self.network, self._matrices = network, network.views(weights)
        (s, b, _), n = prompt.shape, network.shape
        width = 2 * n.width // n.heads
        self._kept = [
            torch.empty(s * b, n.length, width, dtype=weights.dtype, device=weights.device) for _ in range(n.layers)
        ]
        self._shape, self._read = (s, b), 0
        self._table = self._matrices[0].flatten(0, 1)  # one look-up for all students
        self._first_row = torch.arange(s, device=weights.device).view(s, 1, 1) * n.vocabulary
        self.logits = self.read(prompt)
        self._kept = [kept.repeat_interleave(copies, dim=0) for kept in self._kept]
        self._shape = (s, b * copies)
        self.logits = self.logits.repeat_interleave(copies, dim=1)

    def read(self, tokens: Tensor) -> Tensor:
        """Read tokens, int64 [S, B, n]; the scores of the one after them, [S, B, V]."""
        s, b, n = tokens.shape
        start, self._read = self._read, self._read + n
        _, position, output, *blocks = self._matrices
        row = tokens + self._first_row
        x = (embedding(row, self._table) + position[:, None, start : self._read]).view(s, b * n, -1)
        for layer, kept in enumerate(self._kept):
            queries = 1 if layer == len(self._kept) - 1 else n
            x = self._block(x, blocks[4 * layer : 4 * layer + 4], kept, start, queries)
        scores: Tensor = _normalise(x)[0] @ output
        return scores

    def _block(self, x: Tensor, matrices: list[Tensor], kept: Tensor, start: int, queries: int) -> Tensor:
        """As `Network._block`, for the last ``queries`` of the positions read now."""
        wqkv, wo, w1, w2 = matrices
        (s, d), b, shape = (len(x), x.shape[2]), self._shape[1], self.network.shape
        y, _ = _normalise(x)
        kept[:, start : self._read] = (y @ wqkv[:, :, d:]).view(s * b, self._read - start, -1)
        k, v = kept[:, : self._read].split(d // shape.heads, dim=2)
        y, x = (part.view(s, b, -1, d)[:, :, -queries:].reshape(s, b * queries, d) for part in (y, x))
        q = (y @ wqkv[:, :, :d]).view(s * b, queries * shape.heads, -1)
        attention = attend(q, k)
        if queries > 1:  # or the last one, before which is everything
            past = self.network.past[self._read - queries : self._read, : self._read]
            attention = attention * past.repeat_interleave(shape.heads, dim=0)
        attention = attention / attention.sum(2, keepdim=True)
        x = x + (attention @ v).view(s, b * queries, d) @ wo
        return x + torch.relu_(_normalise(x)[0] @ w1) @ w2
