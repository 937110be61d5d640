"""Statistics of paired scores, against cases worked out otherwise."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from kdgym.evaluation.statistics import (
    Interval,
    auroc_interval,
    interquartile_mean,
    log_scores,
    mean_interval,
    probability_of_improvement,
    ratio_interval,
    smallest_detectable_difference,
)

# Efron and Tibshirani, "An introduction to the bootstrap" (1993), table 2.1: survival times of treated mice.
MICE = np.array([94, 197, 16, 38, 99, 141, 23], dtype=float)
SCORES = arrays(float, st.integers(2, 30), elements=st.integers(-100, 100).map(lambda x: x / 100))


def bca_interval(values: np.ndarray, resamples: int = 200_000) -> tuple[float, float]:
    """Efron (1987), equations 1.5 and 6.6, written out for the mean."""
    n, mean = len(values), values.mean()
    means = values[np.random.default_rng(1).integers(0, n, (resamples, n))].mean(1)
    z0 = stats.norm.ppf((means < mean).mean() + 0.5 * (means == mean).mean())
    deviation = values - mean
    acceleration = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)


@pytest.mark.parametrize("values", [MICE, np.geomspace(0.01, 1, 20), np.arange(12) / 12], ids=["mice", "skew", "even"])
def test_the_interval_is_bias_corrected_and_accelerated(values: np.ndarray) -> None:
    interval, spread = mean_interval(values), values.std()
    low, high = bca_interval(values)
    assert interval.low == pytest.approx(low, abs=0.03 * spread)
    assert interval.high == pytest.approx(high, abs=0.03 * spread)


def test_the_interval_of_many_normal_values_is_the_normal_one() -> None:
    values = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    half = 1.96 * values.std() / 20
    interval = mean_interval(values)
    assert interval.low == pytest.approx(-half, rel=0.05)
    assert interval.high == pytest.approx(half, rel=0.05)


@given(SCORES)
def test_the_mean_lies_within_its_interval(values: np.ndarray) -> None:
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low <= interval.mean <= interval.high


def test_equal_calls_give_equal_intervals() -> None:
    assert mean_interval(MICE) == mean_interval(MICE)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_equal_values_give_an_interval_of_width_zero(value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = mean_interval(np.full(5, value))
    assert interval.low == interval.mean == interval.high == pytest.approx(value)


def test_values_equal_but_for_rounding_give_a_finite_interval() -> None:
    """One teacher is better by 0.1 for every student, up to the last bit."""
    differences = np.array([0.3, 0.6, 0.9, 0.1]) - np.array([0.2, 0.5, 0.8, 0.0])
    assert np.ptp(differences) > 0
    interval = mean_interval(differences)
    assert [interval.low, interval.high] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values: list[float]) -> None:
    with pytest.raises(ValueError, match=f"at least 2 values; got {len(values)}"):
        mean_interval(np.array(values))


def test_an_interval_prints_mean_low_high_with_signs() -> None:
    mean, low, high = re.findall(r"[+-][0-9.]+", str(Interval(0.12, -0.1, 0.3)))
    assert [float(mean), float(low), float(high)] == [0.12, -0.1, 0.3]


def test_the_interquartile_mean_ignores_both_outer_quarters() -> None:
    assert interquartile_mean(np.array([1000, 3, 4, 1, 2, 5, -1000, 6])) == pytest.approx((2 + 3 + 4 + 5) / 4)


@given(SCORES)
def test_the_interquartile_mean_drops_a_quarter_at_each_end(values: np.ndarray) -> None:
    cut = len(values) // 4
    kept = np.sort(values)[cut : len(values) - cut]
    assert interquartile_mean(values) == pytest.approx(kept.mean())


def test_wins_losses_and_ties_are_counted() -> None:
    a, b = np.array([2, 2, 1, 0]), np.array([1, 2, 1, 3])
    assert probability_of_improvement(a, b) == pytest.approx((1 + 2 / 2) / 4)


def test_a_teacher_improves_on_itself_half_the_time() -> None:
    assert probability_of_improvement(MICE, MICE) == 0.5


@given(arrays(float, (2, 9), elements=st.integers(0, 3)))
def test_probabilities_of_improvement_of_two_teachers_sum_to_one(scores: np.ndarray) -> None:
    a, b = scores
    assert probability_of_improvement(a, b) + probability_of_improvement(b, a) == pytest.approx(1)


def test_scores_are_compared_seed_by_seed() -> None:
    assert probability_of_improvement(np.array([1, 2, 3]), np.array([0, 1, 2])) == 1


def test_the_detectable_difference_of_two_seeds() -> None:
    """Textbook: (z_0.975 + z_0.8) standard errors, here 2.80 times sqrt(2) / sqrt(2)."""
    assert smallest_detectable_difference(np.array([-1.0, 1.0])) == pytest.approx(1.95996 + 0.84162, abs=1e-4)


def test_four_times_the_seeds_detect_half_the_difference() -> None:
    few = smallest_detectable_difference(np.tile([-1.0, 1.0], 500))
    many = smallest_detectable_difference(np.tile([-1.0, 1.0], 2000))
    assert few / many == pytest.approx(2, rel=1e-3)


def test_a_difference_of_that_size_is_detected_with_that_power() -> None:
    n, rng = 50, np.random.default_rng(0)
    difference = smallest_detectable_difference(np.tile([-1.0, 1.0], n // 2), power=0.9, level=0.1)
    means = rng.normal(difference, np.std(np.tile([-1.0, 1.0], n // 2), ddof=1), (20_000, n)).mean(1)
    detected = np.abs(means) > stats.norm.ppf(0.95) * np.sqrt(n / (n - 1)) / np.sqrt(n)
    assert detected.mean() == pytest.approx(0.9, abs=0.01)


def test_more_power_needs_a_larger_difference() -> None:
    assert smallest_detectable_difference(MICE, power=0.95) > smallest_detectable_difference(MICE, power=0.5)


def test_equal_differences_detect_anything() -> None:
    assert smallest_detectable_difference(np.full(8, 0.25)) == 0


def test_retention_is_what_is_left_of_the_sum() -> None:
    before, after = np.array([0.8, 0.4, 0.0, 0.6]), np.array([0.4, 0.3, 0.0, 0.2])
    found = ratio_interval(after, before)
    assert found.mean == pytest.approx(0.9 / 1.8)
    assert found.low < 0.5 < found.high <= 0.75  # no student kept more than three quarters
    assert ratio_interval(before, before) == Interval(1.0, 1.0, 1.0)


def test_the_interval_of_retention_is_that_of_a_ratio_of_means() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.9, 200)
    after = before * rng.uniform(0.4, 0.8, 200)
    found = ratio_interval(after, before)
    residual = (after - found.mean * before) / before.mean()  # the delta method
    half = 1.96 * residual.std(ddof=1) / np.sqrt(200)
    assert found.low == pytest.approx(found.mean - half, abs=0.2 * half)
    assert found.high == pytest.approx(found.mean + half, abs=0.2 * half)


def test_nothing_learned_is_nothing_to_retain() -> None:
    with pytest.raises(ValueError, match="nothing above 0"):
        ratio_interval(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="at least 2 students"):
        ratio_interval(np.ones(1), np.ones(1))


@pytest.mark.slow
def test_a_diagnosis_is_scored_by_hand() -> None:
    truth = np.array([[True, False], [False, True]])
    belief = np.array([[0.9, 0.2], [0.4, 0.3]])
    found = auroc_interval(truth, belief)
    assert found.mean == 0.75  # of four pairs of a true and a false statement three are in order
    assert log_scores(truth, belief) == pytest.approx([np.log(0.9 * 0.8) / 2, np.log(0.6 * 0.3) / 2])


@given(arrays(bool, (12, 3)), st.floats(0, 1))
def test_a_constant_belief_tells_nothing_apart(truth: np.ndarray, belief: float) -> None:
    constant = np.full(truth.shape, belief)
    assert (log_scores(truth, constant) <= 0).all() and np.isfinite(log_scores(truth, constant)).all()
    if truth.all() or not truth.any():
        with pytest.raises(ValueError, match="nothing to tell apart"):
            auroc_interval(truth, constant)


@pytest.mark.slow
def test_of_a_constant_belief_every_resample_says_a_half() -> None:
    truth = np.array([[True, False, False]] * 8)
    assert auroc_interval(truth, np.full(truth.shape, 1 / 3)) == Interval(0.5, 0.5, 0.5)


def test_intervals_of_differences_bear_signs_and_others_do_not() -> None:
    assert str(Interval(0.5, 0.25, 0.75)) == "+0.50 [+0.25,+0.75]"
    assert Interval(0.5, 0.25, 0.75).unsigned() == "0.50 [0.25,0.75]"
