"""The ``kdgym`` command. Its modules import what a command needs when it runs, so that help and lists come at once."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import kdgym
from kdgym.cli import leaderboard, models, overview, scores, training
from kdgym.cli.errors import one_sentence
from kdgym.registration import COMMANDS

_PANELS: dict[str, dict[str, Any]] = {
    "Look": {"list": overview.list_, "watch": overview.watch, "teach": leaderboard.teach},
    "Train": {"train": training.train, "models": models.app, "data-card": overview.data_card},
    "Compare": {"compare": scores.compare, "evaluate": scores.compare, "headroom": scores.headroom},
    "Leaderboard": {
        "submit": leaderboard.submit,
        "verify": leaderboard.verify,
        "leaderboard": leaderboard.app,
        "export": leaderboard.export,
    },
    "Families": {name: import_module(module).app for name, module in COMMANDS.items()},
}


class _InOrder(TyperGroup):
    """The commands in the order of their panels; by itself Typer lists groups first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for commands in _PANELS.values() for name in commands]


app = typer.Typer(cls=_InOrder, no_args_is_help=True, add_completion=False, rich_markup_mode="rich")
for panel, commands in _PANELS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


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
    """Run the command; what a person did wrong is said in a sentence (exit code 2), unless ``KDGYM_DEBUG`` is set.

    Args:
        arguments: of the command line; those of this process, if left out.
    """
    with one_sentence():
        app(arguments)
