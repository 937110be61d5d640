"""The ``kdgym`` command. Its modules import what a command needs when it runs, so that help and lists come at once."""

from __future__ import annotations

import sys
from typing import Annotated

import gymnasium as gym
import typer
from rich.console import Console

import kdgym
from kdgym.cli import classroom, lanes, leaderboard, models, overview, scores, snapshots, studies, training

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
for name, commands in (
    ("snapshots", snapshots.app),
    ("models", models.app),
    ("classroom", classroom.app),
    ("lanes", lanes.app),
    ("leaderboard", leaderboard.app),
    ("export", leaderboard.export),
):
    app.add_typer(commands, name=name)
app.command("list")(overview.list_)
for command in (
    leaderboard.submit,
    leaderboard.verify,
    leaderboard.teach,
    training.train,
    scores.evaluate,
    scores.compare,
    scores.headroom,
    studies.interference,
    studies.discover,
    overview.watch,
):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kdgym {kdgym.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A gym for teacher agents."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; what a user did wrong is said in a sentence, not in a traceback.

    Args:
        arguments: of the command line; those of this process, if left out.
    """
    try:
        app(arguments)
    except (ValueError, OSError, ImportError, gym.error.Error) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        sys.exit(2)
