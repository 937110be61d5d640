"""Transfer and interference: what practising one skill does to every other skill, on copies of the same students."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from scipy import stats

from kdgym.core.course import Course
from kdgym.evaluation import FIRST_SEED

Floats = npt.NDArray[np.float64]
FALSE_DISCOVERIES = 0.05  # share of the cells called significant that may be so by chance


@dataclass(frozen=True)
class Interference:
    """How accuracy changed, measured on the same students for every skill practised.

    Attributes:
        env_id: where the students are from.
        skills: names of the K skills.
        items: right items of one skill that each copy practised.
        before: test accuracy of every student in every skill, [S, K].
        change: after practice minus before it; student, skill practised, skill examined: [S, K, K].
    """

    env_id: str
    skills: tuple[str, ...]
    items: int
    before: Floats
    change: Floats

    @cached_property
    def mean(self) -> Floats:
        """Mean change over students, [K, K]."""
        return np.asarray(self.change.mean(0))

    @cached_property
    def interval(self) -> tuple[Floats, Floats]:
        """Ends of the 95 % t-interval of every mean, [K, K] each."""
        half = stats.t.ppf(0.975, len(self.change) - 1) * stats.sem(self.change, axis=0)
        return self.mean - half, self.mean + half

    @cached_property
    def significant(self) -> npt.NDArray[np.bool_]:
        """Where the change is not 0, bool [K, K]: two-sided t-tests at a false discovery rate of 5 % (Benjamini and Hochberg,
        Journal of the Royal Statistical Society B 57, 1995).
        """
        spread = stats.sem(self.change, axis=0)
        t = np.divide(self.mean, spread, out=np.zeros_like(self.mean), where=spread > 0)
        p = 2 * stats.t.sf(np.abs(t), len(self.change) - 1)
        found: npt.NDArray[np.bool_] = stats.false_discovery_control(p.ravel()) < FALSE_DISCOVERIES
        return found.reshape(p.shape)

    def to_json(self) -> dict[str, Any]:
        """Everything the picture says; rows are the skills practised, columns the skills examined."""
        low, high = self.interval
        matrices = {"mean": self.mean, "low": low, "high": high, "significant": self.significant}
        return {
            "env_id": self.env_id,
            "students": len(self.change),
            "items": self.items,
            "skills": list(self.skills),
            "before": self.before.mean(0).tolist(),
            **{name: matrix.tolist() for name, matrix in matrices.items()},
        }


def measure_interference(
    env_id: str,
    students: int = 64,
    items: int = 640,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> Interference:
    """Let copies of base students each practise one skill, and examine them in all.

    Args:
        env_id: a DataGen environment; its level does not matter.
        students: base students of the evaluation pool, at least 2.
        items: right items of the one skill that each copy practises.
        progress: called with the number of skills done, and of all.
        settings: passed to the environment.

    Raises:
        ValueError: an argument is out of range, or the environment's students have no skills to practise.
    """
    if students < 2:
        raise ValueError(f"students is {students}; intervals need at least 2.")
    envs: Any = gym.make_vec(env_id, num_envs=students, pool="evaluation", autoreset=False, **settings).unwrapped
    if not isinstance(envs, Course):
        raise ValueError(f"{env_id} is no DataGen environment; its students have no skills to practise.")
    envs.reset(seed=FIRST_SEED)
    total, changes = len(envs.task.skills), []
    for skill in range(total):
        accuracy = envs.examine_practice(skill, items)
        changes.append(accuracy["after"] - accuracy["before"])
        progress(skill + 1, total)
    names = tuple(skill.name for skill in envs.task.skills)
    return Interference(env_id, names, items, accuracy["before"], np.stack(changes, axis=1))
