"""Statistics of paired scores, by scipy: the unit is one student seed."""

from __future__ import annotations

from collections.abc import Callable
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

    def unsigned(self) -> str:
        """As text, of what is no difference."""
        return f"{self.mean:.2f} [{self.low:.2f},{self.high:.2f}]"


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


def interval(statistic: Callable[[npt.NDArray[np.int64]], float], students: int) -> Interval:
    """Anything that is computed from a sample of students, given as their numbers, with a percentile bootstrap interval.

    Raises:
        ValueError: fewer than two students.
    """
    if students < 2:
        raise ValueError(f"An interval needs at least 2 students; got {students}.")
    everybody = np.arange(students)
    result = stats.bootstrap(
        (everybody,), statistic, vectorized=False, n_resamples=999, method="percentile", rng=np.random.default_rng(0)
    )
    return Interval(statistic(everybody), float(result.confidence_interval.low), float(result.confidence_interval.high))


def ratio_interval(above: Scores, below: Scores) -> Interval:
    """Sum of one over the sum of the other, resampled by student: retention is the score after unrelated training over before.

    Raises:
        ValueError: ``below`` is 0 for everybody, or there are fewer than two students.
    """
    if not (below > 0).any():
        raise ValueError("There is nothing above 0 below the line of a ratio.")
    return interval(lambda who: float(above[who].sum() / max(below[who].sum(), np.finfo(float).tiny)), len(below))


def auroc_interval(truth: npt.NDArray[np.bool_], belief: Scores) -> Interval:
    """Area under the ROC curve of statements about students, [S, M] each, resampled by student; 0.5 says nothing.

    Raises:
        ValueError: all statements are true, or none is, or there are fewer than two students.
    """
    if truth.all() or not truth.any():
        raise ValueError("The truth is the same for all statements, so there is nothing to tell apart.")
    from sklearn.metrics import roc_auc_score  # heavy, and only diagnoses need it

    return interval(lambda who: float(roc_auc_score(truth[who].ravel(), belief[who].ravel())), len(truth))


def log_scores(truth: npt.NDArray[np.bool_], belief: Scores) -> Scores:
    """Mean log probability of what is true of each student, nats a statement: [S, M] each -> [S], at most 0.

    A belief counts as at least 1e-6 and at most 1 - 1e-6, so that a single error is not endlessly bad.
    """
    certain = np.clip(belief, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(np.where(truth, certain, 1 - certain)).mean(1))


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
