"""What selfishness costs: teachers that learn for themselves, for everybody, or for a mixture, beside one who plans for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.classroom.bids import gini
from kdgym.evaluation import FIRST_SEED, Result, agent_module, evaluate
from kdgym.registration import find
from kdgym.statistics import Interval, mean_interval, ratio_interval

Report = Callable[[int, str], None]
LEARNER = "bid_ppo"


@dataclass(frozen=True)
class Row:
    """Teachers of S classrooms.

    Attributes:
        teachers: their name.
        mixing: share of the common gain in the reward they learned from; None for those that did not learn.
        gain: common gain, test split, mean over the training runs, [S].
        gini: of the teachers' gains on validation items, likewise, [S].
    """

    teachers: str
    mixing: float | None
    gain: npt.NDArray[np.float64]
    gini: npt.NDArray[np.float64]

    @classmethod
    def of(cls, teachers: str, mixing: float | None, results: Sequence[Result]) -> Row:
        """What the same students learned from the same teachers after several trainings."""
        gain = np.mean([result.after - result.before for result in results], axis=0)
        return cls(teachers, mixing, gain, np.mean([gini(result.besides["gains"]) for result in results], axis=0))

    def measured(self, planner: Row) -> dict[str, Interval]:
        """With 95 % intervals over classrooms; the price of anarchy is the planner's gain over these teachers'."""
        return {
            "gain": mean_interval(self.gain),
            "short": mean_interval(self.gain - planner.gain),
            "price": ratio_interval(planner.gain, self.gain),
            "gini": mean_interval(self.gini),
        }


def measure_anarchy(
    env_id: str,
    mixings: Sequence[float],
    out: Path,
    *,
    steps: int,
    runs: int,
    episodes: int,
    first_seed: int = FIRST_SEED,
    report: Report = lambda done, text: None,
) -> list[Row]:
    """Train teachers for every mixing (those whose model is in ``out`` already are taken as they are), and let all teach.

    Args:
        env_id: of the Classroom family.
        mixings: shares of the common gain in the reward, in [0, 1].
        out: folder of the trained teachers.
        steps: environment steps of a training, over all teachers.
        runs: trainings of every mixing, with seeds 0, 1, ...
        episodes: unseen students, the same for everybody.
        first_seed: of the students.
        report: called with a number of finished parts (trainings and evaluations) and a line about what is done now.

    Returns:
        The planner first, then rules, then learners in the order of ``mixings``.

    Raises:
        ValueError: a mixing is out of range, or ``env_id`` is no classroom.
    """
    entry = find(env_id)
    if entry.family != "classroom":
        raise ValueError(f"{env_id} has one teacher; the price of anarchy is measured on ids of the Classroom family.")
    if not all(0 <= mixing <= 1 for mixing in mixings):
        raise ValueError(f"The mixings are {list(mixings)}; give numbers from 0 (own gain) to 1 (common gain).")
    done, rows = 0, []
    for name in (*entry.upper_bounds, *entry.controls, entry.published, *entry.teachers):
        report(done, name)
        rows.append(Row.of(name, None, [evaluate(env_id, name, episodes, first_seed=first_seed)]))
        done += 1
    train: Any = agent_module(LEARNER).train
    for mixing in mixings:
        results = []
        for run in range(runs):
            folder = out / f"mixing-{mixing:g}-run-{run}"
            report(done, f"{LEARNER}, mixing {mixing:g}, run {run}")
            if not (folder / "model.zip").is_file():
                train(env_id, steps, folder, seed=run, mixing=mixing)
            results.append(evaluate(env_id, f"{LEARNER}:{folder / 'model.zip'}", episodes, first_seed=first_seed))
            done += 1
        rows.append(Row.of(f"{LEARNER}, mixing {mixing:g}", mixing, results))
    report(done, "done")
    return rows
