"""The ``kdgym snapshots`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import gymnasium as gym
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="Take and look at snapshots of a teacher's trajectories.")
console = Console()


@app.command()
def collect(
    id: Annotated[str, typer.Argument(metavar="ID", help="A Gymnasium environment, for example Hopper-v5.")],
    policy: Annotated[Path, typer.Option(help="The teacher: a zip that Stable-Baselines3 saved.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    episodes: Annotated[int, typer.Option(min=1)] = 10,
    every: Annotated[int, typer.Option(help="Steps between two snapshots.", min=1)] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Let a trained policy act, and save states on its trajectories, with its values of them."""
    from kdgym.integrations.sb3 import SB3Agent
    from kdgym.wrappers.collecting import collect_snapshots, sb3_policy

    env = gym.make(id)
    teacher = SB3Agent.from_zip(policy, env.observation_space, env.action_space)
    act, value = sb3_policy(teacher.model)
    bar = iter(track(range(episodes), "episodes", console=console))
    next(bar)
    store = collect_snapshots(
        env, act, value, episodes, every, seed, policy=policy.name, progress=lambda: next(bar, None)
    )
    store.save(out)
    info(out)


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A file of snapshots.")]) -> None:
    """What a file of snapshots holds, and where it comes from."""
    from kdgym.wrappers.samplers import ValueClusters
    from kdgym.wrappers.store import SnapshotStore

    store = SnapshotStore.load(file)
    table = Table(box=None, show_header=False)
    for name, value in {"snapshots": len(store), "numbers a state": store.state.shape[1], **store.provenance}.items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    if np.isnan(store.value).any():
        console.print("The snapshots have no values, so they can be sampled uniformly only.")
        return
    found = ValueClusters(store)
    table = Table("value band", "from", "to", "snapshots", "at step (median)", box=None, header_style="bold")
    for cluster in range(found.clusters):
        mine = found.label == cluster
        values, steps = store.value[mine], store.step[mine]
        row = (str(cluster), f"{values.min():.1f}", f"{values.max():.1f}", str(mine.sum()), f"{np.median(steps):.0f}")
        table.add_row(*row)
    console.print(table)
