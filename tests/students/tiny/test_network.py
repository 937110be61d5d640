"""The network's forward pass against a plain transformer, its hand-written backward pass against autograd."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kdgym import random
from kdgym.students.tiny.network import Network, NetworkShape

S, B = 4, 6
SHAPES = [
    pytest.param(NetworkShape(11, 4, 3, width=8, heads=heads, layers=layers, feed_forward=2), id=f"{layers=} {heads=}")
    for layers in (1, 2, 3)
    for heads in (1, 2, 4)
]
SHAPE = NetworkShape(11, 4, 3, width=8, heads=2, layers=2, feed_forward=2)


def network(shape: NetworkShape) -> Network:
    return Network(shape, torch.device("cpu"), torch.float64)


def draw_weights(shape: NetworkShape, students: int = S) -> Tensor:
    return (random.uniform(torch.arange(students), network(shape).weights) - 0.5) * 2


def draw_tokens(shape: NetworkShape, n: int, purpose: int, students: int = S) -> Tensor:
    key = random.fold(torch.arange(students), purpose)
    return random.integers(key, B * n, shape.vocabulary).view(students, B, n)


def plain_logits(shape: NetworkShape, matrices: list[Tensor], inputs: Tensor) -> Tensor:
    """One student, written as in a textbook: matrices as `Network.views` gives them, inputs [B, L] -> [B, A, V]."""

    def norm(x: Tensor) -> Tensor:
        return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-6)

    tokens, places, output, *blocks = matrices
    d, heads, length = shape.width, shape.heads, shape.length
    x = tokens[inputs] + places
    for i in range(shape.layers):
        wqkv, wo, w1, w2 = blocks[4 * i : 4 * i + 4]
        first = length - shape.answer if i == shape.layers - 1 else 0  # the last block asks for the answer alone
        y = norm(x)
        q = (y[:, first:] @ wqkv[:, :d]).unflatten(2, (heads, -1)).transpose(1, 2)  # [B, H, queries, e]
        k, v = (y @ wqkv[:, d:]).chunk(2, dim=2)  # [B, L, e], shared by the heads
        score = q @ k.unsqueeze(1).mT / math.sqrt(d // heads)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)[first:]
        attention = torch.softmax(score.masked_fill(future, -torch.inf), dim=-1)
        x = x[:, first:] + (attention @ v.unsqueeze(1)).transpose(1, 2).flatten(2) @ wo
        x = x + torch.relu(norm(x) @ w1) @ w2
    return norm(x) @ output


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_a_plain_transformer(shape: NetworkShape) -> None:
    weights, inputs = draw_weights(shape), draw_tokens(shape, shape.length, 1)
    matrices = network(shape).views(weights)
    expected = [plain_logits(shape, [matrix[i] for matrix in matrices], inputs[i]) for i in range(S)]
    torch.testing.assert_close(network(shape).logits(weights, inputs), torch.stack(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_lead_to_the_logits(shape: NetworkShape) -> None:
    weights, inputs, net = draw_weights(shape), draw_tokens(shape, shape.length, 1), network(shape)
    tokens, places, output, *_ = (matrix[0] for matrix in net.views(weights))
    first = net.features(weights, inputs, None, 0)
    torch.testing.assert_close(first[0], (tokens[inputs[0]] + places)[:, -shape.answer :])
    last = net.features(weights, inputs, None, shape.layers)[0]
    norm = last / torch.sqrt((last**2).mean(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(norm @ output, net.logits(weights, inputs)[0])
    for layer in range(1, shape.layers + 1):  # as a network that ends there
        shorter = dataclasses.replace(shape, layers=layer)
        cut = weights[:, : network(shorter).weights]
        torch.testing.assert_close(
            net.features(weights, inputs, None, layer),
            network(shorter).features(cut, inputs, None, layer),
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_flops_are_those_of_a_plain_transformer(shape: NetworkShape) -> None:
    matrices = [matrix[0] for matrix in network(shape).views(draw_weights(shape))]
    with FlopCounterMode(display=False) as counter:
        plain_logits(shape, matrices, draw_tokens(shape, shape.length, 1)[0, :1])
    assert network(shape).forward_flops() == counter.get_total_flops()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_later_answer_token_changes_no_earlier_logits(shape: NetworkShape) -> None:
    weights, inputs = draw_weights(shape), draw_tokens(shape, shape.length, 1)
    before = network(shape).logits(weights, inputs)
    for place in range(1, shape.answer):
        changed = inputs.clone()
        changed[:, :, shape.prompt + place - 1] = (changed[:, :, shape.prompt + place - 1] + 1) % shape.vocabulary
        after = network(shape).logits(weights, changed)
        assert torch.equal(after[:, :, :place], before[:, :, :place])
        assert (after[:, :, place:] != before[:, :, place:]).any(-1).all()


def test_every_prompt_token_changes_every_logit() -> None:
    weights, inputs = draw_weights(SHAPE), draw_tokens(SHAPE, SHAPE.length, 1)
    before = network(SHAPE).logits(weights, inputs)
    for place in range(SHAPE.prompt):
        changed = inputs.clone()
        changed[:, :, place] = (changed[:, :, place] + 1) % SHAPE.vocabulary
        assert (network(SHAPE).logits(weights, changed) != before).any(-1).all()


# --- loss and gradient -------------------------------------------------------------------------------------------

VALID = torch.tensor(
    [
        [1, 1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ],
    dtype=torch.float64,
)


def by_autograd(shape: NetworkShape, weights: Tensor, inputs: Tensor, targets: Tensor, valid: Tensor) -> list[Tensor]:
    """Loss of every sequence, and the gradient of each student's mean over its valid ones."""
    weights = weights.clone().requires_grad_()
    logits = network(shape).logits(weights, inputs)
    loss = F.cross_entropy(logits.movedim(-1, 1), targets, reduction="none").mean(-1) * valid
    (loss.sum(1) / valid.sum(1).clamp_min(1)).sum().backward()
    assert weights.grad is not None
    return [loss.detach(), weights.grad]


@pytest.mark.parametrize("shape", SHAPES)
def test_loss_and_gradient_are_those_of_autograd(shape: NetworkShape) -> None:
    weights, inputs = draw_weights(shape), draw_tokens(shape, shape.length, 1)
    targets = draw_tokens(shape, shape.answer, 2)
    loss, gradient = network(shape).loss_and_gradient(weights, inputs, targets, VALID)
    expected_loss, expected_gradient = by_autograd(shape, weights, inputs, targets, VALID)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-11)


def test_every_matrix_gets_a_gradient() -> None:
    inputs, targets = draw_tokens(SHAPE, SHAPE.length, 1), draw_tokens(SHAPE, SHAPE.answer, 2)
    net = network(SHAPE)
    _, gradient = net.loss_and_gradient(draw_weights(SHAPE), inputs, targets, VALID)
    for matrix in net.views(gradient)[2:]:
        assert (matrix[0].abs() > 0).double().mean() > 0.5


def test_a_student_without_valid_sequences_has_no_loss_and_no_gradient() -> None:
    inputs, targets = draw_tokens(SHAPE, SHAPE.length, 1), draw_tokens(SHAPE, SHAPE.answer, 2)
    loss, gradient = network(SHAPE).loss_and_gradient(draw_weights(SHAPE), inputs, targets, VALID)
    assert (loss[3] == 0).all() and (gradient[3] == 0).all()


def test_filler_has_no_loss() -> None:
    inputs, targets = draw_tokens(SHAPE, SHAPE.length, 1), draw_tokens(SHAPE, SHAPE.answer, 2)
    loss, _ = network(SHAPE).loss_and_gradient(draw_weights(SHAPE), inputs, targets, VALID)
    assert torch.equal(loss > 0, VALID > 0)


def test_what_the_filler_is_does_not_matter() -> None:
    net, weights = network(SHAPE), draw_weights(SHAPE)
    inputs, targets = draw_tokens(SHAPE, SHAPE.length, 1), draw_tokens(SHAPE, SHAPE.answer, 2)
    others, other_targets = draw_tokens(SHAPE, SHAPE.length, 3), draw_tokens(SHAPE, SHAPE.answer, 4)
    keep = VALID.bool().unsqueeze(2)
    one = net.loss_and_gradient(weights, inputs, targets, VALID)
    two = net.loss_and_gradient(
        weights, torch.where(keep, inputs, others), torch.where(keep, targets, other_targets), VALID
    )
    torch.testing.assert_close(two[0], one[0], rtol=0, atol=0)
    torch.testing.assert_close(two[1], one[1], rtol=1e-12, atol=1e-14)


def test_weights_and_inputs_stay_as_they_are() -> None:
    weights, inputs = draw_weights(SHAPE), draw_tokens(SHAPE, SHAPE.length, 1)
    targets, before = draw_tokens(SHAPE, SHAPE.answer, 2), draw_weights(SHAPE)
    network(SHAPE).loss_and_gradient(weights, inputs, targets, VALID)
    network(SHAPE).logits(weights, inputs)
    assert torch.equal(weights, before)
    assert torch.equal(inputs, draw_tokens(SHAPE, SHAPE.length, 1))


def test_a_row_may_be_longer_than_the_weights() -> None:
    weights, inputs = draw_weights(SHAPE), draw_tokens(SHAPE, SHAPE.length, 1)
    longer = torch.cat([weights, torch.full((S, 5), torch.nan, dtype=torch.float64)], dim=1)
    assert torch.equal(network(SHAPE).logits(longer, inputs), network(SHAPE).logits(weights, inputs))


def test_views_are_views() -> None:
    weights = draw_weights(SHAPE)
    for view in network(SHAPE).views(weights):
        view.fill_(7)
    assert (weights == 7).all()
