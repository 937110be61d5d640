"""The cost of selfish teachers: they learn for themselves, for all, or for a mixture, compared with a planner for all.

python -m kdgym.studies.anarchy --out runs/classroom
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from kdgym.cli.errors import run_command
from kdgym.console import Threads, console, progress_bar, set_threads
from kdgym.envs.classroom.bids import gini
from kdgym.envs.classroom.timetable import COLOURS
from kdgym.evaluation import FIRST_SEED, Result, agent_class, evaluate
from kdgym.evaluation.plots import write_figure
from kdgym.evaluation.statistics import Interval, mean_interval, ratio_interval
from kdgym.registration import find

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
        return cls(teachers, mixing, gain, np.mean([gini(result.extras["gains"]) for result in results], axis=0))

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
    train: Any = agent_class(LEARNER).train
    for mixing in mixings:
        results = []
        for run in range(runs):
            folder = out / f"mixing-{mixing:g}-run-{run}"
            report(done, f"{LEARNER}, mixing {mixing:g}, run {run}")
            if not (folder / "model.zip").is_file():
                train(env_id, steps, folder, seed=run, settings={"mixing": mixing})
            results.append(evaluate(env_id, f"{LEARNER}:{folder / 'model.zip'}", episodes, first_seed=first_seed))
            done += 1
        rows.append(Row.of(f"{LEARNER}, mixing {mixing:g}", mixing, results))
    report(done, "done")
    return rows


def anarchy_picture(env_id: str, rows: Sequence[Row], path: Path) -> None:
    """Write price of anarchy and inequality against the share of the common gain in the reward, with 95 % intervals.

    Args:
        env_id: where.
        rows: of `kdgym.studies.anarchy.measure_anarchy`, the planner first.
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
    write_figure(figure, path)


def main(
    out: Annotated[Path, typer.Option(help="Folder of the trained teachers; those found there are not trained again.")],
    id: Annotated[
        str, typer.Argument(metavar="ID", help="An environment whose id begins with kdgym/Classroom-.")
    ] = "kdgym/Classroom-Math-v0",
    mixings: Annotated[str, typer.Option(help="Shares of the common gain in the reward.")] = "0,0.25,0.5,0.75,1",
    steps: Annotated[int, typer.Option(help="Steps of a training, over all teachers.", min=1)] = 110_592,
    runs: Annotated[int, typer.Option(help="Trainings of every mixing.", min=1)] = 1,
    episodes: Annotated[int, typer.Option(help="Unseen students.", min=2)] = 64,
    picture: Annotated[Path | None, typer.Option(help="Write a picture there (png, svg or pdf).")] = None,
    threads: Threads = 1,
) -> None:
    """Price of anarchy as teachers care for the common gain: 0 not at all, 1 for nothing else."""
    set_threads(threads)
    shares, entry = [float(part) for part in mixings.split(",")], find(id)
    rules = len(entry.upper_bounds) + len(entry.controls) + 1 + len(entry.teachers)
    with progress_bar() as bar:
        task = bar.add_task("", total=rules + len(shares) * runs)
        rows = measure_anarchy(
            id, shares, out, steps=steps, runs=runs, episodes=episodes,
            report=lambda done, text: bar.update(task, completed=done, description=text),
        )  # fmt: skip
    console.print(_table(id, rows))
    learners = [row for row in rows if row.mixing is not None]
    if len(learners) > 1:
        first, last = learners[0], learners[-1]
        console.print(f"{last.teachers} minus {first.teachers}, paired: {mean_interval(last.gain - first.gain)}")
    if picture is not None:
        anarchy_picture(id, rows, picture)
        console.print(f"Picture: {picture}")


def _table(id: str, rows: list[Row]) -> Table:
    title = f"{id}: {len(rows[0].gain)} unseen students, test split; price: the planner's gain over theirs"
    table = Table(
        title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="* upper bound: decides for all teachers"
    )
    for name in ("teachers", "common gain", "minus planner", "price of anarchy", "Gini"):
        table.add_column(name, justify="left" if name == "teachers" else "right", no_wrap=True)
    planner = rows[0]
    for row in rows:
        found = row.measured(planner)
        own = row is planner
        table.add_row(
            f"{row.teachers} *" if own else row.teachers,
            found["gain"].unsigned(),
            "" if own else str(found["short"]),
            "" if own else found["price"].unsigned(),
            f"{found['gini'].mean:.2f}",
        )
    return table


if __name__ == "__main__":
    run_command(main)
