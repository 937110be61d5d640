"""Statistics of paired scores, by scipy: the unit is one student seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Scores = npt.NDArray[np.float64]
_RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f},{self.high:+.2f}]"


def mean_interval(values: Scores) -> Interval:
    """Mean with a BCa bootstrap interval (Efron, 1987). Give paired differences to compare two teachers.

    Raises:
        ValueError: fewer than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size < 2:
        raise ValueError(f"An interval needs at least 2 values; got {values.size}.")
    mean = float(values.mean())
    if np.ptp(values) <= 1e-12 * np.abs(values).max():  # equal but for rounding: there is nothing to resample
        return Interval(mean, mean, mean)
    result = stats.bootstrap((values,), np.mean, n_resamples=_RESAMPLES, method="BCa", rng=np.random.default_rng(0))
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


def interquartile_mean(values: Scores) -> float:
    """Mean of the middle half (Agarwal et al., "Deep RL at the edge of the statistical precipice", NeurIPS 2021)."""
    return float(stats.trim_mean(values, 0.25))


def probability_of_improvement(a: Scores, b: Scores) -> float:
    """Share of student seeds on which ``a`` scores higher than ``b``; ties count half."""
    difference = np.asarray(a) - np.asarray(b)
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def smallest_detectable_difference(differences: Scores, power: float = 0.8, level: float = 0.05) -> float:
    """Mean paired difference that this many seeds of this spread detect with the given power (two-sided normal test)."""
    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)
    return float(z * np.std(differences, ddof=1) / np.sqrt(len(differences)))
