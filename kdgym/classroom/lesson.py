"""Who got a student's time and what came of it, as a value, and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kdgym.core.lesson import LEVELS, Floats


@dataclass(frozen=True)
class Timetable:
    """One classroom's episode so far, t steps old, with N teachers.

    Attributes:
        share: of the student's time, [t, N].
        score: target-weighted validation accuracy of every subject, [t + 1, N].
        credits: left in the purses, [N].
        subjects: names of the skills of every teacher.
        steps: length of the whole episode.
    """

    share: Floats
    score: Floats
    credits: Floats
    subjects: list[list[str]]
    steps: int

    @property
    def names(self) -> list[str]:
        """What every teacher is called: its agent's name and its first and last skill."""
        return [f"teacher_{i} ({subject[0]} … {subject[-1]})" for i, subject in enumerate(self.subjects)]


def timetable_panel(timetable: Timetable) -> RenderableType:
    """One line a teacher: its share of every step's time, and what its subject's score was and is."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("teacher", "left"), ("time", "left"), ("", "right"), ("score", "right"), ("gain", "right"),
                          ("credits", "right")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    time = timetable.share.sum(0) / max(1, len(timetable.share))
    for i, name in enumerate(timetable.names):
        curve = "".join(LEVELS[round(float(share) * 8)] for share in timetable.share[:, i]).ljust(timetable.steps, "·")
        first, last = float(timetable.score[0, i]), float(timetable.score[-1, i])
        gain = Text(f"{last - first:+.2f}", style="green" if last > first else "red" if last < first else "dim")
        table.add_row(name, curve, f"{time[i]:.0%}", f"{first:.2f} → {last:.2f}", gain, f"{timetable.credits[i]:.1f}")
    return table


def common_gain(timetable: Timetable) -> float:
    """Mean gain of the subjects so far."""
    return float(np.mean(timetable.score[-1] - timetable.score[0]))
