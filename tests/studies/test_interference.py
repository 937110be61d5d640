"""The matrix of skill practised by skill changed: its numbers, its intervals, what it calls chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kdgym.studies import interference
from kdgym.studies.interference import Interference, interference_picture, measure_interference
from tests.studies.command import study

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"


def made_up(change: np.ndarray) -> Interference:
    names = tuple(f"skill_{k}" for k in range(change.shape[1]))
    return Interference("kdgym/MadeUp-v0", names, 10, np.full(change.shape[:2], 0.5), change)


@pytest.fixture(scope="module")
def measured() -> Interference:
    return measure_interference(ID, students=8, items=320)


def test_practice_helps_what_is_practised_and_harms_other_things(measured: Interference) -> None:
    assert measured.change.shape == (8, 14, 14)
    itself = measured.mean.diagonal()
    others = measured.mean[~np.eye(14, dtype=bool)]
    assert itself.mean() > 0.1
    assert others.mean() < 0


def test_a_row_is_what_practice_of_that_skill_changes(measured: Interference) -> None:
    again = measure_interference(ID, students=8, items=320)
    assert np.array_equal(again.change, measured.change)
    fewer = measure_interference(ID, students=3, items=320)
    assert fewer.change == pytest.approx(measured.change[:3])


def test_chance_is_called_chance() -> None:
    """Of 400 cells of pure noise an uncorrected test calls about 20 significant."""
    noise = np.random.default_rng(1).normal(0, 0.1, (30, 20, 20))
    assert (stats.ttest_1samp(noise, 0).pvalue < 0.05).sum() > 10
    assert made_up(noise).significant.sum() <= 1
    noise[:, 3, 4] += 0.2
    noise[:, 5, 5] -= 0.2
    assert made_up(noise).significant[[3, 5], [4, 5]].all()


def test_what_never_changes_is_not_significant() -> None:
    still = made_up(np.zeros((5, 2, 2)))
    assert not still.significant.any()


@pytest.mark.parametrize("skills", [1, 3])
def test_the_picture_is_drawn_at_any_size(tmp_path: Path, skills: int) -> None:
    change = np.random.default_rng(0).normal(0, 0.1, (6, skills, skills))
    interference_picture(made_up(change), tmp_path / "deep" / "i.png")
    assert (tmp_path / "deep" / "i.png").read_bytes().startswith(b"\x89PNG")


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        measure_interference(ID, students=1)
    with pytest.raises(ValueError, match="at least 1 item"):
        measure_interference(ID, students=2, items=0)


def test_interference_writes_table_and_picture(tmp_path: Path) -> None:
    picture = tmp_path / "new" / "i.png"
    options = ("--students", "4", "--items", "64", "--picture", str(picture))
    assert "helps most" in study(interference, ID, *options).output
    assert picture.stat().st_size > 10_000
