"""A lesson as a person wants to see it: what the student can do, step by step, and what was spent on what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Floats = npt.NDArray[np.float32]
LEVELS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Lesson:
    """One student's episode so far, t steps old.

    Attributes:
        skills: names of the K skills.
        target: weight of every skill, [K].
        accuracy: validation accuracy before the first step and after each one, [t + 1, K].
        spending: money spent on each skill at each step, [t, K].
        steps: length of the whole episode.
        budget_left: share of the money left, [0, 1].
        currency: what money is called there.
    """

    skills: list[str]
    target: Floats
    accuracy: Floats
    spending: Floats
    steps: int
    budget_left: float
    currency: str = "money"


def lesson_panel(lesson: Lesson) -> RenderableType:
    """The lesson as a terminal table, targets first, one line a skill."""
    step = len(lesson.spending)
    score = lesson.accuracy @ lesson.target
    share = lesson.spending.sum(0) / max(float(lesson.spending.sum()), 1e-9)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("skill", "left"), ("target", "right"), ("accuracy", "left"), ("", "right"), ("gain", "right"),
                          (lesson.currency, "right")):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for k in np.argsort(-lesson.target, kind="stable"):
        curve = "".join(LEVELS[round(float(a) * 8)] for a in lesson.accuracy[:, k]).ljust(lesson.steps + 1, "·")
        gain = float(lesson.accuracy[-1, k] - lesson.accuracy[0, k])
        aim = f"{lesson.target[k]:.0%}" if lesson.target[k] > 0 else ""
        table.add_row(
            lesson.skills[k],
            aim,
            curve,
            f"{lesson.accuracy[-1, k]:.2f}",
            Text(f"{gain:+.2f}", style="green" if gain > 0.02 else "red" if gain < -0.02 else "dim"),
            f"{share[k]:.0%}",
            style="bold" if aim else "dim",
        )
    line = (
        f"step {step}/{lesson.steps}   target score {score[0]:.2f} → {score[-1]:.2f} "
        f"({score[-1] - score[0]:+.2f})   budget left {lesson.budget_left:.0%}"
    )
    return Group(Text(line, style="bold"), table)
