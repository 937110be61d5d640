"""The ``kdgym classroom`` commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from kdgym.console import Threads, console, progress_bar, set_threads
from kdgym.registration import find

if TYPE_CHECKING:
    from kdgym.classroom.anarchy import Row

app = typer.Typer(no_args_is_help=True, help="Several teachers of one student: the cost of selfish teachers.")


@app.callback()
def _group() -> None:
    """Keeps ``anarchy`` a command of its own."""


@app.command()
def anarchy(
    out: Annotated[Path, typer.Option(help="Folder of the trained teachers; those found there are not trained again.")],
    id: Annotated[
        str, typer.Argument(metavar="ID", help="An environment whose id begins with kdgym/Classroom-.")
    ] = "kdgym/Classroom-Math-v0",
    mixings: Annotated[str, typer.Option(help="Shares of the common gain in the reward.")] = "0,0.25,0.5,0.75,1",
    steps: Annotated[int, typer.Option(help="Steps of a training, over all teachers.", min=1)] = 110_592,
    runs: Annotated[int, typer.Option(help="Trainings of every mixing.", min=1)] = 1,
    episodes: Annotated[int, typer.Option(help="Unseen students.", min=2)] = 64,
    picture: Annotated[Path | None, typer.Option(help="Write a picture there (png, svg or pdf).")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there.")] = None,
    threads: Threads = 1,
) -> None:
    """Price of anarchy as teachers care for the common gain: 0 not at all, 1 for nothing else."""
    from kdgym.classroom.anarchy import measure_anarchy
    from kdgym.statistics import mean_interval

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
        from kdgym.classroom.plots import anarchy_picture

        picture.parent.mkdir(parents=True, exist_ok=True)
        anarchy_picture(id, rows, picture)
        console.print(f"Picture: {picture}")
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"env_id": id, "steps": steps, "runs": runs, "rows": _raw(rows)}) + "\n")
        console.print(f"Results: {json_file}")


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


def _raw(rows: list[Row]) -> list[dict[str, object]]:
    return [
        {"teachers": row.teachers, "mixing": row.mixing, "gain": row.gain.tolist(), "gini": row.gini.tolist(),
         **{name: vars(value) for name, value in row.measured(rows[0]).items()}}
        for row in rows
    ]  # fmt: skip
