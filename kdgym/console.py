"""What the commands share: the console, the progress bar, and options that mean the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

console = Console()

AGENT_HELP = "A name (see kdgym list), a file like mine.py, NAME:FILE for a trained one, or an SB3 zip."
EnvId = Annotated[str, typer.Argument(metavar="ID", help="Environment id, for example kdgym/DataGen-Math-v0.")]
Threads = Annotated[int, typer.Option(help="Torch threads; 0 leaves torch's choice.", min=0)]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all results there, per seed.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="A setting of the environment, e.g. steps=4.")
]
Hyper = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=JSON", help="A hyper-parameter of the teacher, e.g. learning_rate=0.001, gamma=0.9, width=128."
    ),
]
LANGUAGE_MODEL = "Teachers that ask a language model"  # their options stand together
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Where the language model is: an endpoint (.../v1), or transformers or vllm in process.",
        rich_help_panel=LANGUAGE_MODEL,
    ),
]
Model = Annotated[str | None, typer.Option(help="Name of the language model there.", rich_help_panel=LANGUAGE_MODEL)]


def progress_bar() -> Progress:
    """Description, bar, so many of so many, time spent and time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)


def parse_settings(pairs: list[str] | None, option: str = "--set", **given: Any) -> dict[str, Any]:
    """What an option gives as NAME=JSON, beside what has an option of its own; a value that is no JSON is a text.

    Raises:
        ValueError: there is no ``=``.
    """
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{option} takes NAME=VALUE, for example steps=4; got {pair!r}.")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given


def set_threads(threads: int) -> None:
    """Torch's threads; 0 leaves them as they are."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write the results to a file, where one was asked for, and say where."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content) + "\n")
        console.print(f"Results: {path}")
