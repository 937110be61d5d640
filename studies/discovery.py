"""Skills found without labels, and how well they agree with an environment's own.

python -m kdgym.studies.discovery kdgym/DataGen-VQA-v0 --clusters 15
"""

from __future__ import annotations

from os.path import commonprefix
from typing import Annotated

import typer
from rich.table import Table

from kdgym.cli.errors import run_command
from kdgym.console import EnvId, console, progress_bar
from kdgym.registration import find
from kdgym.tasks import make_task
from kdgym.tasks.views.discovery import Discovery, agreement, discover


def discovery_table(found: Discovery) -> Table:
    """Skills found without labels: how many problems each has, and what one of them says beyond what all say."""
    table = Table(box=None, header_style="bold")
    for name in ("skill", "problems"):
        table.add_column(name, no_wrap=True, min_width=8)
    table.add_column("for example", no_wrap=True, overflow="ellipsis")
    texts = [text for examples in found.examples for text in examples]
    common = len(commonprefix(texts))  # noqa: RUF071  # of texts, not of paths
    for skill, (size, examples) in enumerate(zip(found.sizes.tolist(), found.examples, strict=True)):
        table.add_row(f"found_{skill}", str(size), examples[0][common:])
    return table


def main(
    id: EnvId,
    clusters: Annotated[
        int | None, typer.Option(help="How many skills; by their silhouette, if left out.", min=2)
    ] = None,
) -> None:
    """Find an environment's skills without labels, and how well they agree with its own (adjusted Rand index)."""
    task = make_task(find(id).settings["task"])
    with progress_bar() as bar:
        bar.add_task("reading problems", total=None)
        found = discover(task, clusters)
    console.print(discovery_table(found))
    agreed = f"adjusted Rand index {agreement(task, found):.3f}, silhouette {found.silhouette:.3f}"
    console.print(f"{len(found.sizes)} skills found, {len(task.skills)} by label: {agreed}")


if __name__ == "__main__":
    run_command(main)
