"""Pictures of classrooms: who got the time and what came of it, and what selfishness costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kdgym.classroom.anarchy import Row
from kdgym.classroom.lesson import Timetable, common_gain

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999999")  # Okabe and Ito


def timetable_picture(timetable: Timetable) -> npt.NDArray[np.uint8]:
    """Time above, scores below, one colour a teacher: RGB [height, width, 3]."""
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
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def anarchy_picture(env_id: str, rows: Sequence[Row], path: Path) -> None:
    """Write price of anarchy and inequality against the share of the common gain in the reward, with 95 % intervals.

    Args:
        env_id: where.
        rows: of `kdgym.classroom.anarchy.measure_anarchy`, the planner first.
        path: where the picture goes; its ending chooses the format.
    """
    figure = Figure(figsize=(10, 4.2), dpi=130, layout="constrained")
    panels = dict(zip(("price", "gini"), figure.subplots(1, 2), strict=True))
    learners = [row for row in rows if row.mixing is not None]
    at = [row.mixing for row in learners]
    for name, axes in panels.items():
        found = [row.measured(rows[0])[name] for row in learners]
        axes.fill_between(at, [f.low for f in found], [f.high for f in found], color=COLOURS[0], alpha=0.2, lw=0)
        axes.plot(at, [f.mean for f in found], "o-", color=COLOURS[0], label="PPO, by its reward")
        for row, colour in zip((r for r in rows[1:] if r.mixing is None), COLOURS[1:], strict=False):
            axes.axhline(row.measured(rows[0])[name].mean, color=colour, ls="--", lw=1.2, label=row.teachers)
        axes.set_xlabel("share of the common gain in a teacher's reward")
        axes.spines[["top", "right"]].set_visible(False)
    panels["price"].axhline(1, color="0.4", lw=1)
    panels["price"].annotate("the planner", (0, 1), (2, 3), textcoords="offset points", fontsize=8, color="0.4")
    panels["price"].set_ylabel("price of anarchy\n(planner's common gain over theirs)")
    panels["gini"].set_ylabel("Gini coefficient of the teachers' gains")
    panels["price"].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{env_id}: {len(rows[0].gain)} unseen students, 95 % intervals")
    FigureCanvasAgg(figure)
    figure.savefig(path)
