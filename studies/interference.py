"""Transfer and interference: what practising one skill does to every other skill, on copies of the same students.

python -m kdgym.studies.interference kdgym/DataGen-Math-v0 --picture FILE
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich import box
from rich.table import Table
from scipy import stats

from kdgym.cli.errors import run_command
from kdgym.console import EnvId, Threads, console, progress_bar, set_threads
from kdgym.core.course import CourseEnv
from kdgym.evaluation import FIRST_SEED
from kdgym.evaluation.plots import write_figure
from kdgym.registration import find

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
    def significant(self) -> npt.NDArray[np.bool_]:
        """Where the change is not 0, bool [K, K]: two-sided t-tests at a false discovery rate of 5 % (Benjamini and Hochberg,
        Journal of the Royal Statistical Society B 57, 1995).
        """
        spread = stats.sem(self.change, axis=0)
        t = np.divide(self.mean, spread, out=np.zeros_like(self.mean), where=spread > 0)
        p = 2 * stats.t.sf(np.abs(t), len(self.change) - 1)
        found: npt.NDArray[np.bool_] = stats.false_discovery_control(p.ravel()) < FALSE_DISCOVERIES
        return found.reshape(p.shape)


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
    if not isinstance(envs, CourseEnv):
        raise ValueError(f"{env_id} is no DataGen environment; its students have no skills to practise.")
    envs.reset(seed=FIRST_SEED)
    total, changes = len(envs.task.skills), []
    for skill in range(total):
        accuracy = envs.examine_practice(skill, items)
        changes.append(accuracy["after"] - accuracy["before"])
        progress(skill + 1, total)
    names = tuple(skill.name for skill in envs.task.skills)
    return Interference(env_id, names, items, accuracy["before"], np.stack(changes, axis=1))


def interference_table(result: Interference) -> Table:
    """For every skill practised: its own change, and the skills that gain and lose most by it (significant ones)."""
    title = f"{result.env_id}: {len(result.change)} students practised {result.items} items of one skill"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("practised", "itself", "helps most", "harms most"):
        table.add_column(name, justify="right" if name == "itself" else "left")
    for k, skill in enumerate(result.skills):
        others = np.where(result.significant[k], result.mean[k], 0.0)
        others[k] = 0
        best, worst = int(others.argmax()), int(others.argmin())
        helps = f"{result.skills[best]} {others[best]:+.2f}" if others[best] > 0 else ""
        harms = f"{result.skills[worst]} {others[worst]:+.2f}" if others[worst] < 0 else ""
        table.add_row(skill, f"{result.mean[k, k]:+.2f}", helps, harms)
    return table


def interference_picture(result: Interference, path: Path) -> None:
    """Write the matrix of skill practised by skill changed; cells that may be chance are hatched and bear no number."""
    size = len(result.skills)
    figure = Figure(figsize=(0.62 * size + 3.2, 0.52 * size + 2.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    reach = max(float(np.abs(result.mean).max()), 0.01)
    shown = axes.imshow(result.mean, cmap="RdBu", vmin=-reach, vmax=reach, aspect="auto")
    for (row, column), change in np.ndenumerate(result.mean):
        if result.significant[row, column]:
            colour = "white" if abs(change) > 0.6 * reach else "black"
            axes.text(column, row, f"{change:+.2f}", ha="center", va="center", fontsize=8, color=colour)
        else:
            corner = (column - 0.5, row - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="////", edgecolor="0.8", linewidth=0))
    axes.set_xticks(range(size), result.skills, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), result.skills)
    axes.set_xlabel("skill examined")
    axes.set_ylabel("skill practised")
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, label="change of test accuracy")
    figure.suptitle(
        f"{result.env_id}: what practising one skill changes\n"
        f"{len(result.change)} base students, {result.items} right items; hatched: may be chance (false discovery rate 5 %)"
    )
    FigureCanvasAgg(figure)
    write_figure(figure, path)


def main(
    id: EnvId,
    students: Annotated[int, typer.Option(help="Base students, each a copy a skill.", min=2)] = 64,
    items: Annotated[int, typer.Option(help="Right items of the one skill that a copy practises.", min=1)] = 640,
    picture: Annotated[Path | None, typer.Option(help="Write a picture there (png, svg or pdf).")] = None,
    threads: Threads = 0,
) -> None:
    """Show what practising one skill does to every other: transfer and interference, as a matrix."""
    find(id)
    set_threads(threads)
    with progress_bar() as bar:
        done = bar.add_task("skills practised", total=None)
        result = measure_interference(id, students, items, lambda i, n: bar.update(done, completed=i, total=n))
    console.print(interference_table(result))
    if picture is not None:
        interference_picture(result, picture)
        console.print(f"Picture: {picture}")


if __name__ == "__main__":
    run_command(main)
