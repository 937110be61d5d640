"""``kdgym list`` and ``kdgym watch``: what there is, and what a teacher does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from kdgym.catalogue import agent_names, rule
from kdgym.console import AGENT_HELP, EnvId, console
from kdgym.registration import ENVIRONMENTS, find


def list_() -> None:
    """Show every environment and every teacher that comes with kdgym."""
    table = Table("environment", "what the teacher does", box=None, header_style="bold")
    for entry in ENVIRONMENTS:
        table.add_row(entry.id, entry.summary)
    console.print(table)
    table = Table("teacher", "its rule", box=None, header_style="bold")
    for name in agent_names():
        table.add_row(name, rule(name))
    console.print()
    console.print(table)


def watch(
    id: EnvId,
    agent: Annotated[str | None, typer.Option(help=f"{AGENT_HELP} The published rule, if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the student.", min=0)] = 0,
    picture: Annotated[Path | None, typer.Option(help="Write the finished lesson there (png).")] = None,
) -> None:
    """Watch one lesson live: the student's skill profile, step by step."""
    import gymnasium as gym
    from rich.live import Live

    from kdgym.evaluation import decide, encoding, introduce, load_agent

    entry = find(id)
    name = agent or entry.published
    envs: Any = gym.make_vec(id, num_envs=1, pool="evaluation", autoreset=False, **encoding(name))
    teacher: Any = load_agent(name, envs, seed=seed)
    observation, _ = envs.reset(seed=seed)
    introduce(teacher, envs, observation)
    finished = False
    with Live(envs.panel(0), console=console, refresh_per_second=8) as live:
        while not finished:
            observation, _, terminated, truncated, _ = envs.step(decide(teacher, envs, observation))
            finished = bool((terminated | truncated).all())
            live.update(envs.panel(0))
    if picture is not None:
        from matplotlib.image import imsave

        picture.parent.mkdir(parents=True, exist_ok=True)
        imsave(picture, envs.frame(0))
        console.print(f"Picture: {picture}")
