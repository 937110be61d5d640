"""Thresholds from a histogram of how sure labels are, one a row: weights [..., bins] of evenly spaced scores from 0 to 1."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROUNDS, _LEAST = 20, 1e-9


def scores(bins: int) -> Floats:
    """The middle of each bin."""
    return (np.arange(bins) + 0.5) / bins


def two_means(weight: Floats) -> tuple[Floats, Floats]:
    """The centres of two clusters, the lower first, begun at the lowest and the highest score there is (Lloyd, 1982)."""
    x, (low, high) = scores(weight.shape[-1]), _ends(weight)
    for _ in range(_ROUNDS):
        upper = np.abs(x - high[..., None]) < np.abs(x - low[..., None])
        low, high = (_mean(weight * part, centre) for part, centre in ((~upper, low), (upper, high)))
    return low, high


def mixture(weight: Floats) -> Floats:
    """The lowest score there is of which the upper of two Gaussians is the likelier one; 1 where there is none. EM finds the
    Gaussians, begun at the lowest and the highest score there is (Wang et al., "Consistent-Teacher", CVPR 2023, section 3.3).
    """
    x, centre = scores(weight.shape[-1]), np.stack(_ends(weight), axis=-1)
    spread, share = np.full_like(centre, 0.1), np.full_like(centre, 0.5)
    for _ in range(_ROUNDS):
        apart = (x - centre[..., None]) / spread[..., None]
        likely = share[..., None] / spread[..., None] * np.exp(-0.5 * apart**2) + _LEAST
        member = likely / likely.sum(-2, keepdims=True)
        count = member * weight[..., None, :]
        share = count.sum(-1) / np.maximum(weight.sum(-1)[..., None], _LEAST)
        centre = _mean(count, centre)
        spread = np.sqrt(np.maximum(_mean(count, centre, (x - centre[..., None]) ** 2), 0.02**2))
    above = (member[..., 1, :] > 0.5) & (weight > 0) & (x >= centre[..., :1])
    return np.asarray(np.where(above, x, 1.0).min(-1))


def _ends(weight: Floats) -> tuple[Floats, Floats]:
    """The lowest and the highest score that have a weight; 1 where none has."""
    x, some = scores(weight.shape[-1]), weight > 0
    return np.where(some, x, 1.0).min(-1), np.where(some.any(-1), np.where(some, x, 0.0).max(-1), 1.0)


def _mean(weight: Floats, otherwise: Floats, values: Floats | None = None) -> Floats:
    """Weighted mean of the scores, or of values; where nothing has a weight, ``otherwise``."""
    total = weight.sum(-1)
    x = scores(weight.shape[-1]) if values is None else values
    return np.asarray(np.where(total > _LEAST, (weight * x).sum(-1) / np.maximum(total, _LEAST), otherwise))
