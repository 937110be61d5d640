"""The ``kdgym models`` commands."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from kdgym.console import console, progress_bar

app = typer.Typer(no_args_is_help=True, help="Prepare language models, as students or as teachers.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of kdgym models list.")]


@app.command("add")
def add_(name: Name) -> None:
    """Download and convert a model, once."""
    from kdgym.llm.models import add

    with progress_bar() as bar:
        bar.add_task(f"preparing {name}", total=None)
        path = add(name)
    console.print(f"Model: {path}", soft_wrap=True)


@app.command("list")
def list_() -> None:
    """Show the models that are prepared or can be."""
    from kdgym.llm.models import PACKAGED, directory, prepared

    there = prepared()
    table = Table("model", "what it is", "where", box=None, header_style="bold")
    for name in sorted({*PACKAGED, *there}):
        summary = PACKAGED[name].summary if name in PACKAGED else ""
        table.add_row(name, summary, str(directory(name)) if name in there else f"kdgym models add {name}")
    console.print(table)


@app.command()
def path(name: Name) -> None:
    """Print a model's directory, for other programs: vllm serve "$(kdgym models path smollm2)"."""
    from kdgym.llm.models import resolve

    typer.echo(resolve(name))
