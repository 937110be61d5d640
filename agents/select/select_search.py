"""The best constant recipe that a search finds: ten numbers, the same for every student and step.

They are searched by the cross-entropy method on training students: ``kdgym train kdgym/Select-Images-v0 --agent select_search
--out runs/select-search``. All scorers are trusted alike, as their order says nothing. The search starts from the control.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats
from kdgym.teaching.search import Searched

WEIGHTS = ("student_loss", "student_entropy", "uses", "scorer_loss", "scorer_entropy", "combined_entropy")
OTHERS = ("mix", "keep", "within_class", "labels")
# Weights as they are; the others on the logistic scale, of their range.
FIRST = np.array([0] * len(WEIGHTS) + [0, 2, 2, -2], np.float64)
_LEAST = 0.05  # of keep


def decide(action_space: Any, observation: dict[str, Floats], numbers: npt.NDArray[np.float64]) -> Floats:
    """Actions of S students by their numbers [S, 10]."""
    weights = numbers[:, : len(WEIGHTS)].clip(-2, 2).T
    share = 1 / (1 + np.exp(-numbers[:, len(WEIGHTS) :].clip(-30, 30))).T
    others = dict(zip(OTHERS, share, strict=True))
    others["keep"] = np.maximum(others["keep"], _LEAST)
    return np.asarray(action_space.encode(**dict(zip(WEIGHTS, weights, strict=True)), **others))


class Agent(Searched):
    static = True
    mean, spread, least, file = FIRST, np.ones(len(FIRST)), 0.05, "numbers.json"
    numbers = FIRST
    decide = staticmethod(decide)
