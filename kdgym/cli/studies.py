"""``kdgym interference`` and ``kdgym discover``: how an environment's skills hang together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdgym.console import EnvId, Json, Threads, console, progress_bar, set_threads, write_json
from kdgym.registration import find


def interference(
    id: EnvId,
    students: Annotated[int, typer.Option(help="Base students, each a copy a skill.", min=2)] = 64,
    items: Annotated[int, typer.Option(help="Right items of the one skill that a copy practises.", min=1)] = 640,
    picture: Annotated[Path | None, typer.Option(help="Write a picture there (png, svg or pdf).")] = None,
    json_file: Json = None,
    threads: Threads = 0,
) -> None:
    """Show what practising one skill does to every other: transfer and interference, as a matrix."""
    from kdgym.interference import measure_interference
    from kdgym.report import interference_table

    find(id)
    set_threads(threads)
    with progress_bar() as bar:
        done = bar.add_task("skills practised", total=None)
        result = measure_interference(id, students, items, lambda i, n: bar.update(done, completed=i, total=n))
    console.print(interference_table(result))
    if picture is not None:
        from kdgym.plots import interference_picture

        interference_picture(result, picture)
        console.print(f"Picture: {picture}")
    write_json(json_file, result.to_json())


def discover(
    id: EnvId,
    encoder: Annotated[str, typer.Option(help="How problems are compared: tfidf or minilm.")] = "tfidf",
    clusters: Annotated[
        int | None, typer.Option(help="How many skills; by their silhouette, if left out.", min=2)
    ] = None,
) -> None:
    """Find an environment's skills without labels, and how well they agree with its own (adjusted Rand index)."""
    from kdgym.report import discovery_table
    from kdgym.tasks import make_task
    from kdgym.tasks.discovery import agreement
    from kdgym.tasks.discovery import discover as find_skills

    task = make_task(find(id).settings["task"])
    with console.status("Reading problems ..."):
        found = find_skills(task, clusters, encoder)  # type: ignore[arg-type]  # checked there
    console.print(discovery_table(found))
    agreed = f"adjusted Rand index {agreement(task, found):.3f}, silhouette {found.silhouette:.3f}"
    console.print(f"{len(found.sizes)} skills found by {encoder}, {len(task.skills)} by label: {agreed}")
