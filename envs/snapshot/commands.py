"""The ``kdgym snapshots`` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from kdgym.console import AGENT_HELP, Settings, console, parse_settings, progress_bar
from kdgym.registration import find

if TYPE_CHECKING:
    from kdgym.wrappers.store import SnapshotStore

app = typer.Typer(no_args_is_help=True, help="Collect and inspect snapshots of a demonstrator's trajectories.")


@app.command()
def collect(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="A Gymnasium environment such as Hopper-v5, or one of kdgym's.")
    ],
    out: Annotated[Path, typer.Option(help="File to write.")],
    policy: Annotated[Path | None, typer.Option(help="The demonstrator: a zip that Stable-Baselines3 saved.")] = None,
    agent: Annotated[
        str | None, typer.Option(help=f"The demonstrator in a kdgym environment, a teacher. {AGENT_HELP}")
    ] = None,
    minari: Annotated[str | None, typer.Option(help="Read a Minari data set of this environment instead.")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes to collect from.", min=1)] = 10,
    every: Annotated[
        int | None, typer.Option(help="Steps between two snapshots; 10 if left out, 1 for kdgym's.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first episode.", min=0)] = 0,
    settings: Settings = None,
) -> None:
    """Let a demonstrator act, and save states on its trajectories, with their values."""
    given = [name for name, value in (("--policy", policy), ("--agent", agent), ("--minari", minari)) if value]
    if len(given) != 1:
        raise ValueError(
            f"Give exactly one of --policy, --agent, --minari; {' and '.join(given) or 'none of them'} was given."
        )
    if agent is not None:
        store = _collect_from_population(id, agent, episodes, every or 1, seed, parse_settings(settings))
    elif policy is not None:
        store = _collect_from_zip(id, policy, episodes, every or 10, seed)
    else:
        import gymnasium as gym

        from kdgym.integrations.minari import read_minari
        from kdgym.wrappers.states import find_adapter

        assert minari is not None
        store = read_minari(minari, episodes, every or 10)
        store.require(env := gym.make(id), find_adapter(env))
    store.save(out)
    info(out)


def _collect_from_zip(id: str, policy: Path, episodes: int, every: int, seed: int) -> SnapshotStore:
    import gymnasium as gym

    from kdgym.integrations.sb3 import SB3Agent
    from kdgym.wrappers.collecting import collect_snapshots, sb3_policy

    env = gym.make(id)
    demonstrator = SB3Agent.from_zip(policy, env.observation_space, env.action_space)
    act, value = sb3_policy(demonstrator.model)
    with progress_bar() as bar:
        task = bar.add_task("episodes", total=episodes)
        return collect_snapshots(
            env, act, value, episodes, every, seed, policy=policy.name, progress=lambda: bar.advance(task)
        )


def _collect_from_population(
    id: str, agent: str, episodes: int, every: int, seed: int, settings: dict[str, Any]
) -> SnapshotStore:
    from kdgym.evaluation import Policy, make_unseen
    from kdgym.wrappers.population_reset import collect_population_snapshots

    find(id)
    envs = make_unseen(id, agent, episodes, **{"pool": "train", **settings})
    act = Policy(agent, envs.unwrapped, seed)
    with progress_bar() as bar:
        task = bar.add_task("steps", total=envs.unwrapped.steps)
        return collect_population_snapshots(
            envs.unwrapped, act, every, seed, policy=Path(agent).name, progress=lambda: bar.advance(task)
        )


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A file of snapshots.")]) -> None:
    """Show the contents and the provenance of a file of snapshots."""
    import numpy as np

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
