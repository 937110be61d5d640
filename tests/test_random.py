"""The counter-based generator: pure in its key, uniform, and unrelated between neighbours."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdgym import random

KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8).map(torch.tensor)
N = 20_000


def test_bits_are_those_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    drawn = random.bits(torch.tensor([1234567]), 4)[0]
    assert [value % 2**64 for value in drawn.tolist()] == published


@given(KEYS, st.integers(1, 20))
def test_what_a_key_draws_does_not_depend_on_the_batch(keys: torch.Tensor, n: int) -> None:
    together = random.uniform(keys, n)
    alone = torch.cat([random.uniform(key.view(1), n) for key in keys])
    assert torch.equal(together, alone)


@given(KEYS, st.randoms(use_true_random=False))
def test_what_a_key_draws_does_not_depend_on_its_slot(keys: torch.Tensor, shuffler: object) -> None:
    order = list(range(len(keys)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    assert torch.equal(random.bits(keys[order], 7), random.bits(keys, 7)[order])


@given(KEYS, st.integers(1, 20), st.integers(1, 20))
def test_drawing_more_numbers_keeps_the_first_ones(keys: torch.Tensor, few: int, more: int) -> None:
    assert torch.equal(random.bits(keys, few + more)[:, :few], random.bits(keys, few))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    random.uniform(random.fold(torch.arange(3), 1), 100)
    assert torch.equal(torch.get_rng_state(), before)


@given(KEYS)
def test_uniform_lies_in_the_half_open_unit_interval(keys: torch.Tensor) -> None:
    drawn = random.uniform(keys, 100)
    assert drawn.dtype == torch.float64
    assert (drawn >= 0).all() and (drawn < 1).all()


@pytest.mark.parametrize("key", [0, 1, -1, 2**62])
def test_numbers_of_one_key_are_uniform(key: int) -> None:
    assert stats.kstest(random.uniform(torch.tensor(key), N).numpy(), "uniform").pvalue > 1e-3


def test_first_numbers_of_consecutive_keys_are_uniform() -> None:
    assert stats.kstest(random.uniform(torch.arange(N), 1).flatten().numpy(), "uniform").pvalue > 1e-3


def test_uniform_has_the_right_moments() -> None:
    drawn = random.uniform(torch.arange(100), 10_000)
    assert drawn.mean().item() == pytest.approx(1 / 2, abs=1.5e-3)
    assert drawn.var().item() == pytest.approx(1 / 12, abs=5e-4)
    assert (drawn**3).mean().item() == pytest.approx(1 / 4, abs=1.5e-3)


@given(KEYS, st.integers(1, 2**31 - 1))
def test_integers_lie_below_high(keys: torch.Tensor, high: int) -> None:
    drawn = random.integers(keys, 50, high)
    assert drawn.dtype == torch.int64
    assert (drawn >= 0).all() and (drawn < high).all()


def test_integers_reach_every_value_equally_often() -> None:
    counts = random.integers(torch.tensor(5), N, 7).bincount(minlength=7)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_integers_reach_the_top_of_the_largest_range() -> None:
    high = 2**31 - 1
    assert random.integers(torch.tensor(3), N, high).max() > 0.999 * high


def test_high_may_differ_between_draws() -> None:
    high = torch.tensor([[1, 2, 3], [10, 20, 30]])
    drawn = torch.stack([random.integers(torch.tensor([seed, seed]), 3, high) for seed in range(1000)])
    assert torch.equal(drawn.amax(0), high - 1)
    assert torch.equal(drawn.amin(0), torch.zeros_like(high))


def test_a_tensor_of_highs_draws_what_each_high_draws_alone() -> None:
    keys, high = torch.arange(4), torch.tensor([1, 6, 100, 2**31 - 1])
    together = random.integers(keys, 9, high.unsqueeze(1))
    alone = [random.integers(key, 9, int(top)) for key, top in zip(keys, high, strict=True)]
    assert torch.equal(together, torch.stack(alone))


@given(KEYS, st.integers(0, 2**31), st.integers(0, 2**31))
def test_the_order_of_folding_matters(keys: torch.Tensor, one: int, other: int) -> None:
    equal = random.fold(keys, one, other) == random.fold(keys, other, one)
    assert equal.all() if one == other else not equal.any()


@given(KEYS, st.integers(-(2**31), 2**31), st.integers(-(2**31), 2**31))
def test_folding_twice_is_folding_both(keys: torch.Tensor, one: int, other: int) -> None:
    assert torch.equal(random.fold(random.fold(keys, one), other), random.fold(keys, one, other))


def test_folding_zero_is_not_folding_nothing() -> None:
    keys = torch.arange(100)
    assert not (random.fold(keys, 0) == keys).any()


def test_parts_of_a_fold_broadcast() -> None:
    keys, parts = torch.arange(3), torch.arange(5)
    table = random.fold(keys.unsqueeze(1), parts)
    assert table.shape == (3, 5)
    assert table[2, 4] == random.fold(torch.tensor(2), 4)


def test_seed_episode_and_step_give_different_keys() -> None:
    seed, episode, step = torch.meshgrid(torch.arange(50), torch.arange(50), torch.arange(50), indexing="ij")
    assert random.fold(seed, episode, step).unique().numel() == 50**3


def test_streams_of_neighbouring_seeds_are_uncorrelated() -> None:
    streams = random.uniform(random.fold(torch.arange(64), 0, 0), N)
    correlation = torch.corrcoef(streams).fill_diagonal_(0)
    assert correlation.abs().max() < 6 / N**0.5


def test_streams_of_neighbouring_seeds_share_no_number() -> None:
    assert random.bits(torch.arange(1000), 1000).unique().numel() == 1000 * 1000


def test_successive_numbers_are_uncorrelated() -> None:
    drawn = random.uniform(torch.tensor(11), N)
    assert torch.corrcoef(torch.stack([drawn[:-1], drawn[1:]]))[0, 1].abs() < 5 / N**0.5
