"""The ``kdgym lanes`` commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kdgym.catalogue import require_fit
from kdgym.console import Threads, console, progress_bar, set_threads
from kdgym.registration import find

app = typer.Typer(
    no_args_is_help=True, help="Look into episodes of the Orchestrate family, and at what memories are worth."
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="An environment whose id begins with kdgym/Orchestrate-.")]
_STEPS = 24  # tasks of a stream by default; the bar goes on where there are more


@app.command()
def trace(
    id: _Id,
    out: Annotated[Path, typer.Option(help="File to write, JSON lines; the page goes beside it.")],
    agent: Annotated[str, typer.Option(help="The teacher.")] = "atlas",
    students: Annotated[int, typer.Option(help="How many unseen students.", min=1)] = 4,
    tasks: Annotated[int, typer.Option(min=1, max=1000, help="Length of a stream.")] = _STEPS,
) -> None:
    """Write down an episode task by task, as JSON lines and as a page to read."""
    from kdgym.lanes import trace as tracing

    find(id)
    require_fit(id, agent)
    with progress_bar() as bar:
        advance = partial(bar.advance, bar.add_task(agent, total=students * tasks))
        lines = tracing.trace(id, agent, students, out, tasks=tasks, progress=advance)
    page = out.with_suffix(".html")
    tracing.timeline(out, page)
    console.print(f"{lines} tasks: {out}\nTo read: {page}", soft_wrap=True)


@app.command()
def timeline(
    file: Annotated[Path, typer.Argument(help="A trace.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Page to write.")],
) -> None:
    """Make a page of a trace."""
    from kdgym.lanes import trace as tracing

    console.print(f"{tracing.timeline(file, out)} tasks: {out}", soft_wrap=True)


@app.command()
def transfer(
    id: _Id,
    agents: Annotated[str, typer.Option(help="Teachers that use notes, separated by commas.")] = "always_paired,atlas",
    episodes: Annotated[int, typer.Option(help="How many unseen students.", min=2)] = 64,
    threads: Threads = 2,
) -> None:
    """A memory from one stream of tasks, frozen, on another stream of the same student, against an empty one."""
    from kdgym.lanes.transfer import transfer as measure
    from kdgym.report import transfer_table

    find(id)
    teachers = [name.strip() for name in agents.split(",")]
    for agent in teachers:
        require_fit(id, agent)
    set_threads(threads)
    results = []
    with progress_bar() as bar:
        for agent in teachers:
            advance = partial(bar.advance, bar.add_task(agent, total=3 * _STEPS * episodes))
            results.append(measure(id, agent, episodes, progress=advance))
    console.print(transfer_table(id, results))
