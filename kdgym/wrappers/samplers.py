"""Which snapshot an episode starts from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kdgym.tasks.snapshots import value_bands
from kdgym.wrappers.store import SnapshotStore

Sampler = Callable[[np.random.Generator], int | None]  # None: an ordinary start


class UniformSampler:
    """Every snapshot is equally likely."""

    def __init__(self, store: SnapshotStore) -> None:
        self._number = len(store)

    def __call__(self, rng: np.random.Generator) -> int:
        return int(rng.integers(self._number))


class ValueClusters:
    """First a cluster by ``weights``, then one of its snapshots, each equally likely.

    Clusters are bands of the demonstrator's value, found by k-means in one dimension: S3RL's status classification. Uniform
    weights therefore prefer snapshots with rare values.

    Args:
        store: the snapshots; all need a value.
        clusters: number of bands; fewer, if there are fewer different values.
        weights: what each band counts, not negative; equal if left out. May be set at any time.

    Attributes:
        label: the cluster of every snapshot, in the order of their values, int64 [N].

    Raises:
        ValueError: a snapshot has no value, or ``clusters`` is not positive.
    """

    def __init__(self, store: SnapshotStore, clusters: int = 6, weights: npt.ArrayLike | None = None) -> None:
        if clusters < 1:
            raise ValueError(f"clusters is {clusters}; give at least 1.")
        if np.isnan(store.value).any():
            raise ValueError(
                "Some snapshots have no value; collect them with a value function, or sample them uniformly."
            )
        self.label = value_bands(store.value, clusters)
        self._members = [np.flatnonzero(self.label == cluster) for cluster in range(self.label.max() + 1)]
        self.weights = np.ones(self.clusters) if weights is None else weights

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return len(self._members)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Probability of every cluster, float64 [clusters]."""
        return self._weights

    @weights.setter
    def weights(self, weights: npt.ArrayLike) -> None:
        given = np.asarray(weights, np.float64)
        if given.shape != (self.clusters,) or not np.isfinite(given).all() or (given < 0).any() or given.sum() <= 0:
            raise ValueError(f"The weights are {given.tolist()}; give {self.clusters} numbers >= 0, not all of them 0.")
        self._weights: npt.NDArray[np.float64] = given / given.sum()

    def __call__(self, rng: np.random.Generator) -> int:
        return int(rng.choice(self._members[rng.choice(self.clusters, p=self._weights)]))
