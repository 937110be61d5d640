"""The statistics of level 2: honest claims pass at the stated rate, and a claim cannot buy itself a wide interval."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdgym.leaderboard.drift import gain_spread, measured
from kdgym.leaderboard.rerun import exaggeration


def spread(mean: float, deviation: float, students: int, seed: int = 0) -> np.ndarray:
    """Gains of exactly this mean and standard deviation."""
    values = np.random.default_rng(seed).normal(size=students)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


def test_one_honest_claim_in_a_hundred_fails() -> None:
    rng = np.random.default_rng(0)
    failed = [exaggeration(rng.normal(0.2, 0.15, 64), rng.normal(0.2, 0.15, 32), 1.0)[0] is False for _ in range(2000)]
    assert 0.003 < np.mean(failed) < 0.02


@given(st.floats(-0.3, 0.5), st.floats(0, 0.4), st.integers(2, 64))
def test_a_re_run_that_is_better_does_not_fail(mean: float, better: float, students: int) -> None:
    assert exaggeration(spread(mean, 0.1, 64), spread(mean + better, 0.1, students), 10.0)[0] is True


@pytest.mark.parametrize("spoiled", [0.0, 0.1, 0.2, 0.3, 0.35])
def test_students_spoiled_on_purpose_do_not_buy_a_pass(spoiled: float) -> None:
    """The attack: an upper bound's lessons for the board's students, some of whom are spoiled; +0.078 with new students."""
    claimed = spread(0.36, 0.12, 64)
    claimed[: round(64 * spoiled)] -= 0.55
    found = spread(0.078, 0.12, 32, seed=1)
    widest = 2 * 2.8 * gain_spread("kdgym/DataGen-Math-v0") / 8
    passed, said = exaggeration(claimed, found, max(widest, claimed.mean() / 2))
    assert passed is False, said


@given(st.floats(0.05, 0.6), st.floats(0.01, 0.8), st.integers(2, 40), st.floats(0.05, 0.2))
def test_a_pass_rests_on_an_interval_that_is_not_too_wide(
    claim: float, deviation: float, students: int, widest: float
) -> None:
    """However a claim is spread: nothing that exceeds the re-run by more than the allowed half-width passes."""
    claimed, found = spread(claim, deviation, 64), spread(claim - 1.01 * widest, 0.1, students)
    assert exaggeration(claimed, found, widest)[0] is not True


def test_too_few_new_students_are_told_how_many_are_needed() -> None:
    claimed, found = spread(0.2, 0.15, 64), spread(0.15, 0.15, 4)
    passed, said = exaggeration(claimed, found, 0.1)
    assert passed is None
    needed = re.search(r"(\d+) new students are needed \(--students \1\)", said)
    assert needed
    assert exaggeration(claimed, spread(0.15, 0.15, int(needed[1])), 0.1)[0] is True


def test_the_numbers_of_the_attack_that_passed() -> None:
    """A third of its students spoiled: +0.281, spread by 0.41, where 32 new students gain +0.078."""
    assert exaggeration(spread(0.281, 0.41, 64), spread(0.078, 0.12, 32), 0.15)[0] is False
    assert exaggeration(spread(0.193, 0.43, 64), spread(0.078, 0.12, 32), 0.15)[0] is False  # half of them


def test_gains_that_no_number_of_new_students_decides() -> None:
    passed, said = exaggeration(spread(0.2, 0.6, 64), spread(0.1, 0.6, 32), 0.1)
    assert passed is None
    assert "1024 new students would not decide" in said
    assert "--students" not in said


def test_equal_gains_have_no_spread() -> None:
    assert exaggeration(np.full(8, 0.1), np.full(8, 0.1), 0.01)[0] is True
    assert exaggeration(np.full(8, 0.1), np.full(8, 0.0), 0.01)[0] is False


@pytest.mark.parametrize("env_id", sorted(measured()))
def test_the_default_number_of_students_decides_of_kdgyms_own_teachers(env_id: str) -> None:
    """The widest-spread of them, that is."""
    widest = 2 * 2.8 * gain_spread(env_id) / 8
    own = spread(0.0, gain_spread(env_id), 64)
    assert exaggeration(own, spread(0.0, gain_spread(env_id), 32), widest)[0] is True
