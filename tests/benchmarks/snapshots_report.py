"""Tables, picture and file of `snapshots_ablation.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy import stats

from kdgym.evaluation.statistics import Interval

Floats = npt.NDArray[np.float64]
Cell = tuple[str, str, str]  # task, algorithm, arm
COLOURS = {"ordinary": "0.5", "random": "#56B4E9", "sc": "#E69F00", "stt": "#009E73", "s3rl": "#D55E00"}
NAMES = {"ordinary": "ordinary", "random": "random snapshots", "sc": "SC only", "stt": "STT only", "s3rl": "S3RL"}


def scores(results: Sequence[dict[str, Any]], teachers: dict[str, dict[str, Any]]) -> dict[Cell, Floats]:
    """Curves of an algorithm's whole seeds: (task, algorithm, arm) -> [seeds, examinations]; 0 is the algorithm's untrained
    students in the mean, 1 the teacher.

    Algorithms of which fewer than two seeds are finished in all cells are left out.

    Raises:
        ValueError: nothing is left.
    """
    first: dict[tuple[str, str], list[float]] = {}
    for result in results:
        first.setdefault((result["task"], result["algorithm"]), []).append(result["returns"][0])
    untrained = {who: np.mean(returns) for who, returns in first.items()}
    by_cell: dict[Cell, dict[int, Floats]] = {}
    for result in results:
        low, high = untrained[result["task"], result["algorithm"]], teachers[result["task"]]["teacher_return"]
        curve = (np.array(result["returns"]) - low) / (high - low)
        by_cell.setdefault((result["task"], result["algorithm"], result["arm"]), {})[result["seed"]] = curve
    curves: dict[Cell, Floats] = {}
    for algorithm in dict.fromkeys(cell[1] for cell in by_cell):
        mine = {cell: seeds for cell, seeds in by_cell.items() if cell[1] == algorithm}
        whole = sorted(set.intersection(*map(set, mine.values()))) if len(mine) == len(teachers) * len(NAMES) else []
        if len(whole) > 1:
            curves |= {cell: np.stack([seeds[seed] for seed in whole]) for cell, seeds in mine.items()}
    if not curves:
        raise ValueError("No algorithm has two seeds that are finished in all cells, which a report needs.")
    return curves


def later(curve: Floats, lost: float) -> Floats:
    """Curves [..., examinations] of students that began ``lost`` examinations late; until then they are untrained."""
    at = np.arange(curve.shape[-1])
    return np.apply_along_axis(lambda row: np.interp(at - lost, at, row), -1, curve)


def over_tasks(curves: dict[Cell, Floats], algorithm: str, arm: str, lost: dict[str, float]) -> Floats:
    """One algorithm's curves, [tasks, seeds, examinations]; snapshots cost the steps that collecting them took."""
    chosen = {task: curve for (task, name, kind), curve in curves.items() if (name, kind) == (algorithm, arm)}
    return np.stack([later(chosen[task], 0 if arm == "ordinary" else lost[task]) for task in sorted(chosen)])


def middle(values: Floats) -> Interval:
    """Interquartile mean over tasks and seeds [tasks, seeds], with an interval from resampling seeds."""

    def statistic(who: npt.NDArray[np.int64], axis: int = -1) -> Floats:
        """All resamples at once: `interval` of `kdgym.evaluation` takes minutes for the hundreds of a picture."""
        picked = np.moveaxis(values[:, who], 0, -1).reshape(*who.shape[:-1], -1)
        return np.asarray(stats.trim_mean(picked, 0.25, axis=-1))

    everybody = np.arange(values.shape[1])
    rng = np.random.default_rng(0)
    found = stats.bootstrap((everybody,), statistic, vectorized=True, n_resamples=999, method="percentile", rng=rng)
    low, high = found.confidence_interval
    return Interval(float(statistic(everybody)), float(low), float(high))


def report(
    results: Sequence[dict[str, Any]], teachers: dict[str, dict[str, Any]], json_file: Path, picture: Path
) -> None:
    """Print tables of all whole seeds, draw the curves, and write them and all runs into one file."""
    curves = scores(results, teachers)
    every = {
        result["algorithm"]: result["every"] for result in results if any(c[1] == result["algorithm"] for c in curves)
    }
    rows, console = [], Console(width=140)
    table = Table(title="0 is an untrained student, 1 the teacher; difference to ordinary starts, paired by seed")
    for column in ("algorithm", "seeds", "starts", "end", "curve", "difference", "difference, collection counted"):
        table.add_column(column)
    for algorithm, steps in every.items():
        free = dict.fromkeys(teachers, 0.0)
        counted = {task: teacher["environment_steps"] / steps for task, teacher in teachers.items()}
        ordinary = over_tasks(curves, algorithm, "ordinary", free).mean(2)
        for arm, name in NAMES.items():
            reached = over_tasks(curves, algorithm, arm, free)
            paid = over_tasks(curves, algorithm, arm, counted).mean(2)
            found = {
                "end": middle(reached[:, :, -1]),
                "curve": middle(reached.mean(2)),
                "difference": middle(reached.mean(2) - ordinary),
                "difference_counted": middle(paid - ordinary),
            }
            gains = [str(found[which]) if arm != "ordinary" else "" for which in ("difference", "difference_counted")]
            seeds = ordinary.shape[1]
            table.add_row(algorithm, str(seeds), name, found["end"].unsigned(), found["curve"].unsigned(), *gains)
            summary = {which: vars(value) for which, value in found.items()}
            rows.append({"algorithm": algorithm, "seeds": seeds, "arm": arm, **summary})
    console.print(table)
    console.print(by_task(curves))
    draw(curves, every, picture)
    lines = ",\n".join(json.dumps(result) for result in results)  # a line a run, so that additions read well
    head = json.dumps({"teachers": teachers, "summary": rows})
    json_file.write_text(f'{head[:-1]}, "runs": [\n{lines}\n]}}\n')


def by_task(curves: dict[Cell, Floats]) -> Table:
    """Means of the curves, task by task: differences to ordinary starts."""
    table = Table(title="mean of the curve, difference to ordinary starts (interquartile mean of the pairs)")
    for column in ("task", "algorithm", "ordinary", *(NAMES[arm] for arm in NAMES if arm != "ordinary")):
        table.add_column(column)
    for task, algorithm in sorted({cell[:2] for cell in curves}):
        ordinary = curves[task, algorithm, "ordinary"].mean(1)
        gains = [curves[task, algorithm, arm].mean(1) - ordinary for arm in NAMES if arm != "ordinary"]
        table.add_row(task, algorithm, middle(ordinary[None]).unsigned(), *(str(middle(gain[None])) for gain in gains))
    return table


def draw(curves: dict[Cell, Floats], every: dict[str, int], path: Path) -> None:
    """One panel a task and algorithm: interquartile mean over seeds by environment steps, with its interval."""
    tasks = sorted({task for task, _, _ in curves})
    figure = Figure(figsize=(11, 8), dpi=110, layout="constrained")
    panels = figure.subplots(len(tasks), len(every), squeeze=False)
    for row, task in enumerate(tasks):
        for axes, algorithm in zip(panels[row], every, strict=True):
            for arm, colour in COLOURS.items():
                curve = curves[task, algorithm, arm]
                bands = [middle(curve[None, :, at]) for at in range(curve.shape[1])]
                steps = every[algorithm] * np.arange(curve.shape[1])
                axes.plot(steps, [band.mean for band in bands], color=colour, label=NAMES[arm])
                axes.fill_between(
                    steps, [b.low for b in bands], [b.high for b in bands], color=colour, alpha=0.12, lw=0
                )
            axes.set_title(f"{task}, {algorithm}", fontsize=9)
            axes.locator_params(axis="x", nbins=5)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("environment steps, without collection")
    for axes in panels[:, 0]:
        axes.set_ylabel("score (teacher: 1)")
    panels[0, 0].legend(fontsize=7, frameon=False)
    FigureCanvasAgg(figure)
    figure.savefig(path)
