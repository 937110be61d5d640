"""``kdgym list`` and ``kdgym watch``: what there is, and what a teacher does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kdgym.catalogue import agent_names, roles, rule
from kdgym.console import AGENT_HELP, EnvId, Json, console, parse_settings, write_json
from kdgym.registration import environments, find


def list_(
    id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="Show the teachers that fit this environment, in full."),
    ] = None,
) -> None:
    """Show the environments, and the teachers that fit each."""
    entries = environments()
    shown = [find(id).group] if id else list(dict.fromkeys(entry.group for entry in entries))
    for group in shown:
        console.rule(group, align="left")
        ids = Table.grid(padding=(0, 2))
        for entry in entries:
            if entry.group == group and id in (None, entry.id):
                ids.add_row(entry.id, entry.notice or entry.summary)
        console.print(ids)
        console.print(_teachers(roles(group), whole=id is not None))
    unknown = sorted(set(agent_names()).difference(*map(roles, shown)))
    if unknown and id is None:
        console.rule("In no row of the table", align="left")
        console.print(_teachers(dict.fromkeys(unknown, ""), whole=False))
    if id is None:
        console.print("A teacher in full: kdgym list ID. In a lesson: kdgym watch ID --agent NAME.")


def _teachers(roles: dict[str, str], whole: bool) -> Table | Text:
    """Teachers with their roles and rules; a line each, or all that their files say at first."""
    widths = [max(map(len, column)) + 2 for column in (("teacher", *roles), ("role", *roles.values()))]
    room = console.width - sum(widths) - 1
    if not whole:  # as text: a table of so many rows takes a tenth of a second
        lines = [Text(f" {'teacher':{widths[0]}}{'role':{widths[1]}}its rule", style="bold")]
        for name, role in roles.items():
            said = rule(name)
            shown = said if len(said) <= room else said[: room - 1].rstrip() + "…"
            lines.append(Text(f" {name:{widths[0]}}{role:{widths[1]}}{shown}"))
        return Text("\n").join(lines)
    table = Table(box=None, header_style="bold")
    for heading, width in zip(("teacher", "role"), widths, strict=True):
        table.add_column(heading, width=width - 2)
    table.add_column("its rule", width=room)
    for name, role in roles.items():
        table.add_row(name, role, Text(rule(name)))
    return table


def watch(
    id: EnvId,
    agent: Annotated[str | None, typer.Option(help=f"{AGENT_HELP} The published rule, if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the student.", min=0)] = 0,
    picture: Annotated[Path | None, typer.Option(help="Write a picture of the episode there (png).")] = None,
) -> None:
    """Watch one episode live: what the student can do, step by step."""
    from rich.live import Live

    from kdgym.evaluation import Policy, make_unseen

    entry = find(id)
    name = agent or entry.published
    envs = make_unseen(id, name, 1)
    act = Policy(name, envs, seed)
    observation, _ = envs.reset(seed=seed)
    finished = False
    with Live(envs.panel(0), console=console, refresh_per_second=8) as live:
        while not finished:
            observation, reward, terminated, truncated, _ = envs.step(act(observation))
            act.after_step(reward, terminated | truncated)
            finished = bool((terminated | truncated).all())
            live.update(envs.panel(0))
    if picture is not None:
        from matplotlib.image import imsave

        from kdgym.storage import write_atomically

        content = io.BytesIO()
        imsave(content, envs.frame(0), format=picture.suffix[1:] or "png")
        write_atomically(picture, content.getvalue())
        console.print(f"Picture: {picture}")


def data_card(
    task: Annotated[str, typer.Argument(metavar="dataset:PATH", help="A task from a data set: docs/own-data.md.")],
    options: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="An option of it.")] = None,
    json_file: Json = None,
) -> None:
    """Show which rows of a data set become a task, by skill and split, which are dropped, and why."""
    from kdgym.tasks import make_task

    made: Any = make_task(task, **parse_settings(options))
    if not hasattr(made, "card"):
        raise ValueError(f"The task {task} is not made from a data set; write dataset:PATH.")
    card = made.card()
    skills = Table("skill", *next(iter(card["skills"].values())), box=None, header_style="bold")
    for skill, counts in card["skills"].items():
        skills.add_row(skill, *map(str, counts.values()))
    dropped = Table("dropped", "rows", "the first of them", box=None, header_style="bold")
    for reason, found in card["dropped"].items():
        dropped.add_row(reason, str(found["rows"]), "\n".join(found["first"]))
    console.print(f"{card['kept']} of {card['rows']} rows are kept.", skills, dropped, sep="\n\n")
    console.print(f"\nLongest, in tokens of tiny students: {card['longest']}; these take {card['tiny students take']}.")
    write_json(json_file, card)
