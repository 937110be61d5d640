"""What is measured of a teacher: nothing aggregated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_FAILED = 0.05  # share of failed questions above which a score counts as the default's rather than the model's


@dataclass(frozen=True, repr=False)
class RawResult:
    """What one agent's students learned; every array has one row a student seed.

    Attributes:
        env_id, agent: who taught where.
        upper_bound: the agent saw more than a teacher may.
        seeds: int64 [S].
        before, after: target-weighted test accuracy before the first and after the last step, [S].
        right, asked: correct and asked test items per skill after the last step, int64 [S, K].
        curve: target-weighted validation accuracy over the episode, [S, steps + 1].
        cost: actor -> unit -> total spent, [S].
        extras: what else was asked for. Of students with misconceptions what `Misconceptions.examine` says of the test split,
            and ``belief``, what the agent's ``diagnose`` said, [S, M]; of retention ``retained_before`` and ``retained_after``
            unrelated training, the target-weighted test accuracy [S]. ``placebo`` is the score of a twin after the same
            lessons with their content destroyed, [S]: ``after`` minus that is what was learned, that minus ``before`` is
            adaptation to the format.
        remarks: what the agent has to say of itself, counted; see `kdgym.teaching.Teacher.remarks`.
    """

    env_id: str
    agent: str
    upper_bound: bool
    seeds: npt.NDArray[np.int64]
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    right: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]
    curve: npt.NDArray[np.float64]
    cost: dict[str, dict[str, npt.NDArray[np.float64]]] = field(repr=False)
    extras: dict[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False)
    remarks: dict[str, int] = field(default_factory=dict)

    @property
    def failed_questions(self) -> float:
        """See `failed_share`."""
        return failed_share(self.remarks)

    def to_json(self) -> dict[str, Any]:
        """Raw per-seed records; nothing aggregated."""
        names = ("seeds", "before", "after", "right", "asked", "curve")
        cost = {a: {u: v.tolist() for u, v in units.items()} for a, units in self.cost.items()}
        head = {"env_id": self.env_id, "agent": self.agent, "upper_bound": self.upper_bound}
        extras = {name: value.tolist() for name, value in self.extras.items()}
        arrays = {name: getattr(self, name).tolist() for name in names}
        told = {"remarks": self.remarks, "failed_questions": self.failed_questions}
        return {**head, **arrays, "cost": cost, "besides": extras, **told}


def failed_share(remarks: Mapping[str, int]) -> float:
    """Share of the questions to a language model that it never answered, from 0 to 1; 0 of a teacher that asks none.

    Above `MOST_FAILED` a score says more of what the teacher does by default than of the model: tables mark it, and
    leaderboards do not take it.
    """
    return remarks.get("failed", 0) / max(remarks.get("questions", 0), 1)
