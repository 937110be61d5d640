"""A lesson as a person wants to see it: what the student can do, step by step, and what was spent on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def lesson_picture(lesson: Lesson) -> npt.NDArray[np.uint8]:
    """The lesson so far as RGB [height, width, 3]: accuracy and spending of every skill over the steps, targets first."""
    from matplotlib.figure import Figure  # heavy, and most runs draw nothing

    order = np.argsort(-lesson.target, kind="stable")
    names = [f"{lesson.skills[k]}  {lesson.target[k]:.0%}" if lesson.target[k] > 0 else lesson.skills[k] for k in order]
    figure = Figure(figsize=(9.6, 4.8), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(lesson.steps + 1, lesson.steps))
    accuracy = np.full((len(order), lesson.steps + 1), np.nan)
    accuracy[:, : len(lesson.accuracy)] = lesson.accuracy[:, order].T
    shown = left.imshow(accuracy, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    figure.colorbar(shown, ax=left, label="validation accuracy")
    money = np.full((len(order), lesson.steps), np.nan)
    money[:, : len(lesson.spending)] = lesson.spending[:, order].T
    total = np.nansum(money, axis=0, keepdims=True)
    shown = right.imshow(money / np.where(total > 0, total, 1), vmin=0, vmax=1, cmap="magma", aspect="auto")
    figure.colorbar(shown, ax=right, label=f"share of the step's {lesson.currency}")
    left.set_yticks(range(len(order)), names)
    for label, k in zip(left.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if lesson.target[k] > 0 else "normal")
    left.set_xlabel("after step")
    right.set_xlabel("at step")
    right.set_xticks(range(lesson.steps), [str(i + 1) for i in range(lesson.steps)])
    score = lesson.accuracy @ lesson.target
    figure.suptitle(
        f"Step {len(lesson.spending)} of {lesson.steps}: target score {score[0]:.2f} → {score[-1]:.2f}, "
        f"budget left {lesson.budget_left:.0%}"
    )
    return drawn(figure)


@dataclass(frozen=True)
class Recipe:
    """The dials of one student's training recipe over the t steps of an episode so far.

    Attributes:
        entries: what the teacher set, from -1 to 1 by name, [t] each; 0 is neutral.
        values: what that means, [t] each.
    """

    entries: Mapping[str, npt.NDArray[np.floating[Any]]]
    values: Mapping[str, npt.NDArray[np.floating[Any]]]

    def moved(self) -> list[str]:
        """Names of the dials that are not neutral at some step."""
        return [name for name, entry in self.entries.items() if (entry != 0).any()]


def recipe_panel(lesson: Lesson, recipe: Recipe) -> RenderableType:
    """Accuracy by class beside the dials that were moved; one bar a step, half high where a dial is neutral."""
    done = len(lesson.spending)
    left, right = (Table(box=None, pad_edge=False, header_style="bold") for _ in range(2))
    for table, names in ((left, ("class", "accuracy", "")), (right, ("dial", "entries", "value"))):
        for name in names:
            table.add_column(name, justify="left")
    for k, name in enumerate(lesson.skills):
        curve = "".join(LEVELS[round(float(a) * 8)] for a in lesson.accuracy[:, k]).ljust(lesson.steps + 1, "·")
        left.add_row(name, curve, f"{lesson.accuracy[-1, k]:.2f}")
    for name in recipe.moved():
        curve = "".join(LEVELS[round(float(a) * 4 + 4)] for a in recipe.entries[name]).ljust(lesson.steps, "·")
        right.add_row(name, curve, f"{recipe.values[name][-1]:.3g}")
    if not recipe.moved():
        right.add_row("all neutral", "", "", style="dim")
    score = lesson.accuracy @ lesson.target
    line = f"step {done}/{lesson.steps}   accuracy {score[0]:.2f} → {score[-1]:.2f} ({score[-1] - score[0]:+.2f})"
    both = Table.grid(padding=(0, 3))
    both.add_row(left, right)
    return Group(Text(line, style="bold"), both)


def recipe_picture(lesson: Lesson, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """The same as RGB [height, width, 3]."""
    from matplotlib.figure import Figure  # heavy, and most runs draw nothing

    moved = recipe.moved() or ["all neutral"]
    figure = Figure(figsize=(9.6, 4.8), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(lesson.steps + 1, lesson.steps))
    accuracy = np.full((len(lesson.skills), lesson.steps + 1), np.nan)
    accuracy[:, : len(lesson.accuracy)] = lesson.accuracy.T
    shown = left.imshow(accuracy, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    figure.colorbar(shown, ax=left, label="validation accuracy")
    left.set_yticks(range(len(lesson.skills)), lesson.skills)
    left.set_xlabel("after step")
    entries = np.full((len(moved), lesson.steps), np.nan)
    for row, name in enumerate(moved):
        done = recipe.entries.get(name, np.zeros(len(lesson.spending), np.float32))
        entries[row, : len(done)] = done
    shown = right.imshow(entries, vmin=-1, vmax=1, cmap="coolwarm", aspect="auto")
    figure.colorbar(shown, ax=right, label="dial, 0 is neutral")
    right.set_yticks(range(len(moved)), moved, fontsize=7)
    right.set_xlabel("at step")
    right.set_xticks(range(lesson.steps), [str(i + 1) for i in range(lesson.steps)])
    score = lesson.accuracy @ lesson.target
    figure.suptitle(f"Step {len(lesson.spending)} of {lesson.steps}: accuracy {score[0]:.2f} → {score[-1]:.2f}")
    return drawn(figure)


def drawn(figure: Figure) -> npt.NDArray[np.uint8]:
    """A finished figure as RGB [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
