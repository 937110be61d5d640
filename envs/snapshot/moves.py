"""The action space of the Snapshot family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.spaces import Block, Decisions, Floats, Parameter, Shares, WordedBox, rounded


class SnapshotMoves(WordedBox):
    """``Box(-1, 1, (C + 3,))``: where practice starts: shares of C clusters, share of ordinary starts, horizon, end.

    Args:
        clusters: C.
        limit: the longest horizon, in steps.
        seed: seed of ``sample``.
    """

    temperature, shortest = 4.0, 5

    def __init__(self, clusters: int, limit: int, seed: int | None = None) -> None:
        super().__init__(-1.0, 1.0, (clusters + 3,), np.float32, seed=seed)
        self.clusters, self.limit = clusters, limit
        self.shares = Shares(clusters, self.temperature)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (*self.shares.blocks, Block("numbers", 3))

    def encode(
        self,
        weights: npt.ArrayLike,
        ordinary: npt.ArrayLike = 0.0,
        horizon: npt.ArrayLike | None = None,
        end: npt.ArrayLike = False,
    ) -> Floats:
        """The action [S, C + 3] of S students.

        Args:
            weights: of the clusters, not negative and not all 0, [S, C]; at any scale.
            ordinary: share of ordinary starts, in [0, 1], one for all or [S]; so the next two.
            horizon: steps after which an episode from a snapshot is cut, from `shortest` to `limit`, which None stands for.
            end: whether all starts are ordinary from now on.

        Raises:
            ValueError: weights, share or horizon are out of range.
        """
        first = self.shares.encode(weights)
        cut = np.asarray(self.limit if horizon is None else horizon, dtype=np.float64)
        share = np.asarray(ordinary, dtype=np.float64)
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"The share of ordinary starts is {ordinary!r}; give 0 to 1.")
        if not ((cut >= self.shortest) & (cut <= self.limit)).all():
            raise ValueError(f"The horizon is {horizon!r} steps; {self.shortest} to {self.limit} are allowed.")
        reach = 2 * np.log(cut / self.shortest) / np.log(self.limit / self.shortest) - 1
        last = (2 * share - 1, reach, 2.0 * np.asarray(end, dtype=bool) - 1)
        columns = [np.broadcast_to(column, first.shape[:1])[:, None] for column in last]
        return np.concatenate([first, *columns], axis=1).astype(np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str] = ()) -> Decisions:
        """Shares of ordinary starts and of each cluster among the others, where the horizon lies in its range, end."""
        given = np.asarray(actions, dtype=np.float64)
        ordinary, horizon, end = np.moveaxis((given[..., self.clusters :] + 1) / 2, -1, 0)
        others = self.shares.decisions(given[..., : self.clusters], self._names)
        return {**others, "ordinary": ordinary, "horizon": horizon, "end": end}

    @property
    def _names(self) -> list[str]:
        return [f"cluster {c}" for c in range(self.clusters)]

    def parameters(self, skills: Sequence[str] = ()) -> tuple[Parameter, ...]:
        """Weights of clusters, the share of ordinary starts, the horizon in its range, and the end."""
        last = Parameter("ordinary", "number"), Parameter("horizon", "number", neutral=1), Parameter("end", "flag")
        return (*self.shares.parameters(self._names), *last)

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        weights = {name: values[name] for name in self._names if name in values}
        last = [values.get(name, default) for name, default in (("ordinary", 0), ("horizon", 1), ("end", 0))]
        return np.concatenate([self.shares.compose(weights, self._names), 2 * np.array(last) - 1])

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        ordinary, horizon, end = rounded((action[self.clusters :] + 1) / 2)
        last = {"ordinary": ordinary, "horizon": horizon, "end": float(end > 0.5)}
        return self.shares._describe(action[: self.clusters], self._names) | last
