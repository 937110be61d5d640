"""Architectures of small networks, S copies at once: forward passes on named weights, plain torch that autograd follows.

Every weight has the shape [S, ...], so a matrix product of all students is one batched product. Images are [S, B, 196], of
14 x 14 pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym.tasks.images.corpus import PIXELS, SIDE

Shapes = dict[str, tuple[int, ...]]
Named = Mapping[str, Tensor]
_PATCH = 4  # patches of 4 x 4 pixels, of which the outer ones reach over the edge
_TOKENS = math.ceil(SIDE / _PATCH) ** 2


@dataclass(frozen=True)
class Output:
    """What a network says of a batch.

    Attributes:
        logits: [S, B, C].
        hidden: what its stages say, first to last, [S, B, width] each.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...]


@dataclass(frozen=True)
class Architecture:
    """A kind of network.

    Attributes:
        shapes: of one copy's weights, by name; those of one axis start at 0, others normal with variance 2 / (all axes but
            the last).
        stages: widths of `Output.hidden`.
        forward: weights [S, *shape] by name, images [S, B, 196] -> what it says.
        flops: floating-point operations of one forward pass of an image, two a multiply-add.
    """

    shapes: Shapes
    stages: tuple[int, ...]
    forward: Callable[[Named, Tensor], Output]
    flops: int


def perceptron(classes: int, widths: tuple[int, ...] = (32, 32), inputs: int = PIXELS) -> Architecture:
    """Layers of ``widths`` rectified units."""
    sizes = (inputs, *widths, classes)
    shapes: Shapes = {}
    for i, (before, after) in enumerate(itertools.pairwise(sizes)):
        shapes |= {f"matrix_{i}": (before, after), f"bias_{i}": (after,)}

    def forward(w: Named, x: Tensor) -> Output:
        hidden = []
        for i in range(len(widths)):
            x = torch.relu(affine(w, x, i))
            hidden.append(x)
        return Output(affine(w, x, len(widths)), tuple(hidden))

    return Architecture(shapes, widths, forward, 2 * sum(math.prod(s) for s in shapes.values() if len(s) == 2))


def affine(w: Named, x: Tensor, i: int | str) -> Tensor:
    """[S, B, n] through ``matrix_i`` [S, n, m] and ``bias_i`` [S, m]."""
    return torch.baddbmm(w[f"bias_{i}"].unsqueeze(1), x, w[f"matrix_{i}"])


def softmax(logits: Tensor) -> Tensor:
    """Probabilities over the last axis. torch's code for another axis takes many items at once, and is many times as fast
    where classes are as few as here."""
    return torch.softmax(logits.mT, dim=-2).mT


def log_softmax(logits: Tensor) -> Tensor:
    """The logarithm of `softmax`."""
    return torch.log_softmax(logits.mT, dim=-2).mT


def residual(classes: int, width: int = 32, blocks: int = 8) -> Architecture:
    """Blocks that add a rectified layer of ``width`` to what they read."""
    shapes: Shapes = {"matrix_in": (PIXELS, width), "bias_in": (width,)}
    for i in range(blocks):
        shapes |= {f"matrix_{i}": (width, width), f"bias_{i}": (width,)}
    shapes |= {"matrix_out": (width, classes), "bias_out": (classes,)}

    def forward(w: Named, x: Tensor) -> Output:
        x, hidden = affine(w, x, "in"), []
        for i in range(blocks):
            x = x + torch.relu(affine(w, x, i))
            hidden.append(x)
        return Output(affine(w, x, "out"), tuple(hidden))

    flops = 2 * (PIXELS * width + blocks * width * width + width * classes)
    return Architecture(shapes, (width,) * blocks, forward, flops)


def convolution(classes: int, channels: tuple[int, int] = (8, 16)) -> Architecture:
    """Two layers of 3 x 3 filters with rectified units, each followed by a mean over 2 x 2, and a linear layer."""
    first, second = channels
    side = SIDE // 2 // 2
    flat = second * side * side
    shapes: Shapes = {
        "filter_0": (1, 3, 3, first), "bias_0": (first,), "filter_1": (first, 3, 3, second), "bias_1": (second,),
        "matrix_out": (flat, classes), "bias_out": (classes,),
    }  # fmt: skip

    def layer(w: Named, x: Tensor, i: int, students: int) -> Tensor:
        # One group of filters a student: [B, S * channels, side, side].
        filters = w[f"filter_{i}"].movedim(-1, 1).flatten(0, 1)
        y = F.conv2d(x, filters, w[f"bias_{i}"].flatten(), padding=1, groups=students)
        return F.avg_pool2d(torch.relu(y), 2)

    def forward(w: Named, x: Tensor) -> Output:
        students, items = x.shape[:2]
        y, hidden = x.view(students, items, SIDE, SIDE).transpose(0, 1), []
        for i in range(2):
            y = layer(w, y, i, students)
            hidden.append(y.unflatten(1, (students, -1)).transpose(0, 1).flatten(2))
        return Output(affine(w, hidden[-1], "out"), tuple(hidden))

    flops = 2 * 9 * (first * SIDE**2 + first * second * (SIDE // 2) ** 2) + 2 * flat * classes
    return Architecture(shapes, (first * (SIDE // 2) ** 2, flat), forward, flops)


def patches(classes: int, width: int = 32, blocks: int = 1) -> Architecture:
    """Attention over patches of 4 x 4 pixels, the mean of which is classified (Dosovitskiy et al., ICLR 2021, without a class
    token)."""
    return _attention(classes, _TOKENS, _PATCH * _PATCH, width, blocks, _cut, causal=False)


def sequence(classes: int, width: int = 32, blocks: int = 1) -> Architecture:
    """Causal attention over the rows of an image, from the top; the last row's output is classified."""
    return _attention(classes, SIDE, SIDE, width, blocks, lambda x: x.unflatten(2, (SIDE, SIDE)), causal=True)


def _cut(x: Tensor) -> Tensor:
    """Images [S, B, 196] -> patches [S, B, tokens, 16]; the edge is padded with black."""
    n, pad = math.ceil(SIDE / _PATCH), -SIDE % _PATCH
    y = F.pad(x.unflatten(2, (SIDE, SIDE)), (pad // 2, pad - pad // 2) * 2)
    cut: Tensor = y.unflatten(3, (n, _PATCH)).unflatten(2, (n, _PATCH)).transpose(3, 4).flatten(4).flatten(2, 3)
    return cut


def _attention(
    classes: int, tokens: int, inputs: int, width: int, blocks: int, cut: Callable[[Tensor], Tensor], causal: bool
) -> Architecture:
    shapes: Shapes = {"matrix_in": (inputs, width), "place": (tokens, width)}
    for i in range(blocks):
        shapes |= {f"ask_{i}": (width, 3 * width), f"mix_{i}": (width, width)}
        shapes |= {f"matrix_{i}a": (width, 2 * width), f"bias_{i}a": (2 * width,)}
        shapes |= {f"matrix_{i}b": (2 * width, width), f"bias_{i}b": (width,)}
    shapes |= {"matrix_out": (width, classes), "bias_out": (classes,)}

    def forward(w: Named, x: Tensor) -> Output:
        students, items = x.shape[:2]
        y = torch.bmm(cut(x).flatten(1, 2), w["matrix_in"]).unflatten(1, (items, tokens)) + w["place"].unsqueeze(1)
        hidden = []
        for i in range(blocks):
            q, k, v = torch.bmm(F.rms_norm(y, (width,)).flatten(1, 2), w[f"ask_{i}"]).chunk(3, dim=2)
            q, k, v = (part.reshape(students * items, tokens, width) for part in (q, k, v))
            said = F.scaled_dot_product_attention(q, k, v, is_causal=causal).view(students, items * tokens, width)
            y = y + torch.bmm(said, w[f"mix_{i}"]).view_as(y)
            inner = torch.relu(affine(w, F.rms_norm(y, (width,)).flatten(1, 2), f"{i}a"))
            y = y + affine(w, inner, f"{i}b").view_as(y)
            hidden.append(y[:, :, -1] if causal else y.mean(2))
        return Output(affine(w, hidden[-1], "out"), tuple(hidden))

    a_block = tokens * 2 * (8 * width * width) + 4 * tokens * tokens * width
    return Architecture(shapes, (width,) * blocks, forward, 2 * tokens * inputs * width + blocks * a_block)


ARCHITECTURES: dict[str, Callable[..., Architecture]] = {
    "perceptron": perceptron,
    "convolution": convolution,
    "residual": residual,
    "patches": patches,
    "sequence": sequence,
}
