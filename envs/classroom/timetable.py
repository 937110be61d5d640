"""Who got a student's time and what came of it, as a value, and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kdgym.core.rendering import LEVELS, Floats, drawn

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999999")  # Okabe and Ito


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


def timetable_picture(timetable: Timetable) -> npt.NDArray[np.uint8]:
    """Time above, scores below, one colour a teacher: RGB [height, width, 3]."""
    from matplotlib.figure import Figure  # heavy, and most runs draw nothing

    figure = Figure(figsize=(8, 5.6), dpi=100, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    done, base = len(timetable.share), np.zeros(len(timetable.share))
    for i, name in enumerate(timetable.names):
        colour = COLOURS[i % len(COLOURS)]
        above.bar(np.arange(done) + 0.5, timetable.share[:, i], 0.9, bottom=base, color=colour)
        base = base + timetable.share[:, i]
        gain = timetable.score[-1, i] - timetable.score[0, i]
        below.plot(np.arange(done + 1), timetable.score[:, i], "o-", color=colour, ms=3, label=f"{name}  {gain:+.2f}")
    above.set_ylabel("share of the student's time")
    above.set_ylim(0, 1)
    below.set_ylabel("score of the subject")
    below.set_ylim(0, 1)
    below.set_xlim(0, timetable.steps)
    below.set_xlabel("after step")
    below.legend(fontsize=8, frameon=False, loc="upper left")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Step {done} of {timetable.steps}: common gain {common_gain(timetable):+.2f}")
    return drawn(figure)
