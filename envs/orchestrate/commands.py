"""The ``kdgym lanes`` commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kdgym.console import console, progress_bar
from kdgym.registration import find

app = typer.Typer(no_args_is_help=True, help="Look into episodes of the Orchestrate family.")

_STEPS = 24  # tasks of a stream by default; the bar goes on where there are more


@app.command()
def trace(
    id: Annotated[str, typer.Argument(metavar="ID", help="An environment whose id begins with kdgym/Orchestrate-.")],
    out: Annotated[Path, typer.Option(help="File to write, JSON lines; the page goes beside it.")],
    agent: Annotated[str, typer.Option(help="The teacher.")] = "atlas",
    students: Annotated[int, typer.Option(help="How many unseen students.", min=1)] = 4,
    tasks: Annotated[int, typer.Option(min=1, max=1000, help="Length of a stream.")] = _STEPS,
) -> None:
    """Write down an episode task by task, as JSON lines and as a page to read."""
    from kdgym.envs.orchestrate import trace as tracing
    from kdgym.evaluation import FIRST_SEED, Policy, make_unseen

    find(id)
    envs = make_unseen(id, agent, students, tasks=tasks)
    with progress_bar() as bar:
        advance = partial(bar.advance, bar.add_task(agent, total=students * tasks))
        lines = tracing.trace(envs, Policy(agent, envs), out, first_seed=FIRST_SEED, progress=advance)
    page = out.with_suffix(".html")
    tracing.timeline(out, page)
    console.print(f"{lines} tasks: {out}\nTo read: {page}", soft_wrap=True)


@app.command()
def timeline(
    file: Annotated[Path, typer.Argument(help="A trace.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Page to write.")],
) -> None:
    """Make a page of a trace."""
    from kdgym.envs.orchestrate import trace as tracing

    console.print(f"{tracing.timeline(file, out)} tasks: {out}", soft_wrap=True)
