"""Batches: weights and soft targets, against autograd and torch's own AdamW, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdgym import random
from kdgym.students import Batch, TransformerConfig, TransformerStudents
from kdgym.tasks import make_task

SIZE = TransformerConfig().batch
STUDENTS, ITEMS = 3, 2 * SIZE + 5
COUNT = torch.tensor([ITEMS, SIZE, 7])


@pytest.fixture(scope="module", params=["torch", "kernel"])
def engine(request: pytest.FixtureRequest) -> TransformerStudents:
    return TransformerStudents(make_task("Math"), engine=request.param)


@pytest.fixture(scope="module")
def precise() -> TransformerStudents:
    return TransformerStudents(make_task("Math"), TransformerConfig(width=16, layers=2), dtype=torch.float64)


def batch_of(engine: TransformerStudents, weight: bool = True, soft: bool = True) -> Batch:
    """Random items; weights from 0 to 2, and distributions that are far from one-hot."""
    key, task = torch.arange(STUDENTS), engine.task
    problem, target = (random.integers(random.fold(key, i), ITEMS, len(task.prompt)) for i in (1, 2))
    size = ITEMS, engine.answer_width, task.vocabulary
    logits = 6 * random.uniform(random.fold(key, 3), ITEMS * size[1] * size[2]).view(STUDENTS, *size)
    weights = (3 * random.uniform(random.fold(key, 4), ITEMS) - 1).clamp_min(0).float()
    return Batch(
        problem,
        engine.solution[target],
        COUNT,
        weights if weight else None,
        torch.softmax(logits, dim=-1).to(engine.dtype) if soft else None,
    )


def one_hot(engine: TransformerStudents, target: Tensor) -> Tensor:
    return F.one_hot(engine.tables.answers[target], engine.task.vocabulary).float()


def by_autograd(engine: TransformerStudents, state: Tensor, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """What each student's weights are, and its items' losses were, by autograd and torch's AdamW, one student at a time."""
    c, final, losses = engine.config, [], []
    for i, count in enumerate(batch.count.tolist()):
        weights = state[i : i + 1, : engine.weights].clone().requires_grad_()
        optimiser = torch.optim.AdamW(
            [weights], lr=c.learning_rate, betas=(c.beta1, c.beta2), eps=c.epsilon, weight_decay=c.weight_decay
        )
        mine = []
        for begin in range(0, count, SIZE):
            part = slice(begin, min(begin + SIZE, count))
            tokens = engine.tables.answers[batch.target[i, part]]
            inputs = torch.cat([engine.tables.prompts[batch.problem[i, part]], tokens[:, :-1]], dim=1)
            logits = engine.network.logits(weights, inputs[None])[0].movedim(-1, 1)
            target = tokens if batch.soft is None else batch.soft[i, part].to(logits.dtype).movedim(-1, 1)
            loss = F.cross_entropy(logits, target, reduction="none").mean(1)
            weight = 1 if batch.weight is None else batch.weight[i, part]
            optimiser.zero_grad()
            (loss * weight).mean().backward()
            optimiser.param_groups[0]["lr"] = c.learning_rate * len(loss) / SIZE
            optimiser.step()
            mine.append(loss.detach())
        final.append(weights.detach()[0])
        losses.append(torch.cat(mine))
    return torch.stack(final), losses


@pytest.mark.parametrize(("weight", "soft"), [(False, False), (True, False), (False, True), (True, True)])
def test_updates_are_those_of_autograd_and_torchs_adamw(precise: TransformerStudents, weight: bool, soft: bool) -> None:
    state, batch = precise.initialise(torch.arange(STUDENTS)), batch_of(precise, weight, soft)
    weights, expected = by_autograd(precise, state, batch)
    losses = precise.train(state, batch)
    torch.testing.assert_close(state[:, : precise.weights], weights, rtol=0, atol=1e-9)
    for mine, theirs in zip(losses, expected, strict=True):
        torch.testing.assert_close(mine[: len(theirs)], theirs, rtol=1e-9, atol=1e-12)
        assert (mine[len(theirs) :] == 0).all()


@pytest.mark.parametrize(("weight", "soft"), [(True, False), (False, True), (True, True)])
def test_the_gradient_is_the_slope_of_the_weighted_loss(precise: TransformerStudents, weight: bool, soft: bool) -> None:
    """By central differences along random directions, of students whose rectifiers are not near their kinks."""
    batch, net = batch_of(precise, weight, soft), precise.network
    state = precise.initialise(torch.arange(STUDENTS) + 10)[:, : precise.weights]
    tokens = precise.tables.answers[batch.target]
    inputs = torch.cat([precise.tables.prompts[batch.problem], tokens[..., :-1]], dim=-1)
    valid = (torch.arange(ITEMS) < COUNT[:, None]).double()
    targets = (
        (None if batch.weight is None else batch.weight.double()),
        (None if batch.soft is None else batch.soft.double()),
    )

    def total(weights: Tensor) -> Tensor:
        losses = net.loss_and_gradient(weights, inputs, tokens, valid, None, *targets)[0]
        return (losses * (1 if targets[0] is None else targets[0])).sum(1) / COUNT

    gradient = net.loss_and_gradient(state, inputs, tokens, valid, None, *targets)[1]
    for draw in range(3):
        way = random.uniform(random.fold(torch.arange(STUDENTS), 9, draw), precise.weights) - 0.5
        slope = (total(state + 1e-7 * way) - total(state - 1e-7 * way)) / 2e-7
        torch.testing.assert_close((gradient * way).sum(1), slope, rtol=1e-5, atol=1e-6)


def test_weights_of_one_and_one_hot_targets_change_no_bit_of_the_kernels() -> None:
    engine = TransformerStudents(make_task("Math"), engine="kernel")
    plain = batch_of(engine, weight=False, soft=False)
    results = []
    for change in ({}, {"weight": torch.ones(STUDENTS, ITEMS)}, {"soft": one_hot(engine, plain.target)}):
        state = engine.initialise(torch.arange(STUDENTS))
        results.append([engine.train(state, replace(plain, **change)), state])
    for losses, state in results[1:]:
        assert torch.equal(losses, results[0][0]) and torch.equal(state, results[0][1])


def test_a_one_hot_distribution_is_its_token(precise: TransformerStudents) -> None:
    plain, states = batch_of(precise, soft=False), [precise.initialise(torch.arange(STUDENTS)) for _ in range(2)]
    losses = [
        precise.train(state, replace(plain, soft=soft))
        for state, soft in zip(states, (None, one_hot(precise, plain.target)), strict=True)
    ]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=1e-10)


def first_moment(engine: TransformerStudents, batch: Batch) -> Tensor:
    """After one update of untaught students, in proportion to its gradient: float64 [S, weights]."""
    state = engine.initialise(torch.arange(STUDENTS))
    engine.train(state, batch)
    stride = (engine.row - 16) // 3
    return state[:, stride : stride + engine.weights].double()


def test_a_weight_counts_in_proportion_and_zero_leaves_an_item_out(engine: TransformerStudents) -> None:
    whole = batch_of(engine)
    whole = replace(whole, **{n: getattr(whole, n)[:, :SIZE] for n in ("problem", "target", "weight", "soft")})
    whole, half = replace(whole, count=torch.full((STUDENTS,), SIZE)), SIZE // 2
    assert whole.weight is not None
    once, twice = first_moment(engine, whole), first_moment(engine, replace(whole, weight=2 * whole.weight))
    torch.testing.assert_close(twice, 2 * once, rtol=1e-4, atol=1e-7)
    kept = torch.where(torch.arange(SIZE) < half, whole.weight, 0)
    silent = first_moment(engine, replace(whole, weight=kept))
    alone = first_moment(engine, replace(whole, count=torch.full((STUDENTS,), half)))
    torch.testing.assert_close(2 * silent, alone, rtol=1e-4, atol=1e-7)  # by the number of items, not by their weights
    assert not torch.allclose(once, alone, rtol=1e-2, atol=1e-6)


def test_what_stands_behind_the_count_does_not_matter(engine: TransformerStudents) -> None:
    batch = batch_of(engine)
    assert batch.weight is not None and batch.soft is not None
    filler = torch.arange(ITEMS) >= COUNT[:, None]
    other = replace(
        batch,
        weight=batch.weight.masked_fill(filler, torch.nan),
        soft=batch.soft.masked_fill(filler[:, :, None, None], torch.nan),
    )
    states = [engine.initialise(torch.arange(STUDENTS)) for _ in range(2)]
    losses = [engine.train(state, items) for state, items in zip(states, (batch, other), strict=True)]
    assert torch.equal(losses[0], losses[1]) and torch.equal(states[0], states[1])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"problem": torch.zeros(ITEMS, dtype=torch.int64)}, r"problem is torch.int64 \[37\]; expected int64 \[3, 37\]"),
    ({"target": torch.zeros(STUDENTS, 4, dtype=torch.int64)}, r"target is .*\[3, 4\]; expected int64 \[3, 37\]"),
    ({"target": torch.zeros(STUDENTS, ITEMS)}, r"target is torch.float32"),
    ({"count": torch.tensor([5])}, r"count is .*\[1\]; expected int64 \[3\]"),
    ({"weight": torch.ones(STUDENTS, 1)}, r"weight is .*\[3, 1\]; expected float \[3, 37\]"),
    ({"weight": torch.ones(STUDENTS, ITEMS, dtype=torch.int64)}, r"weight is torch.int64"),
    ({"weight": torch.full((STUDENTS, ITEMS), -0.5)}, "finite and at least 0"),
    ({"weight": torch.full((STUDENTS, ITEMS), torch.nan)}, "finite and at least 0"),
    ({"weight": torch.full((STUDENTS, ITEMS), torch.inf)}, "finite and at least 0"),
    ({"soft": torch.ones(STUDENTS, ITEMS, 3)}, r"soft is .*; expected float \[3, 37, 3, \d+\]"),
    ({"soft": 2.0}, "at least 0 and sums to 1"),
    ({"soft": torch.nan}, "at least 0 and sums to 1"),
]


@pytest.mark.parametrize(("change", "words"), BAD, ids=[f"{next(iter(c))}-{i}" for i, (c, _) in enumerate(BAD)])
def test_a_batch_that_is_none_is_refused_and_nobody_is_changed(
    engine: TransformerStudents, change: dict[str, Any], words: str
) -> None:
    batch, state = batch_of(engine), engine.initialise(torch.arange(STUDENTS))
    if isinstance(change.get("soft"), float):
        change = {"soft": torch.full_like(one_hot(engine, batch.target), change["soft"] / engine.task.vocabulary)}
    before = state.clone()
    with pytest.raises(ValueError, match=words):
        engine.train(state, replace(batch, **change))
    assert torch.equal(state, before)


def test_a_distribution_with_a_negative_part_is_refused(engine: TransformerStudents) -> None:
    batch = batch_of(engine)
    assert batch.soft is not None
    batch.soft[0, 0, 0, :2] += torch.tensor([-1.0, 1.0])
    with pytest.raises(ValueError, match="at least 0"):
        engine.train(engine.initialise(torch.arange(STUDENTS)), batch)
