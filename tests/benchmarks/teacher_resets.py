"""Do teachers learn to teach sooner when their practice starts in the middle of a better teacher's lessons?

    kdgym snapshots collect kdgym/DataGen-Math-v0 --agent lookahead --episodes 64 --set reward=log_loss \\
        --out runs/lessons.safetensors
    python tests/benchmarks/teacher_resets.py run --store runs/lessons.safetensors --out runs/resets       # resumes
    python tests/benchmarks/teacher_resets.py report --out runs/resets --json FILE --picture FILE

`agents/datagen/ppo.py` with its own settings on 64 students, equal numbers of environment steps; only where its lessons start
differs. It is examined from ordinary starts, on 64 students that nobody has taught. One seed's arms are run before the next
seed begins.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO

import kdgym  # noqa: F401  # registers the environments
from kdgym.agents.datagen.ppo import Agent as Teacher
from kdgym.console import progress_bar
from kdgym.evaluation import FIRST_SEED, teach
from kdgym.evaluation.statistics import mean_interval
from kdgym.integrations.sb3 import SB3Agent, as_vec_env
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.storage import write_atomically
from kdgym.wrappers import SnapshotStore, ValueClusters, VectorSnapshotReset

ID, CLUSTERS = "kdgym/DataGen-Math-v0", 6
STEPS, EVERY, EXAMINED = 15_360, 3_072, 64
# Share of practice that is guided, by value clusters or not, and steps to which lessons from snapshots are cut: published are a
# tenth of practice and a tenth of the time limit, which of a lesson's 12 steps would be one.
ARMS: dict[str, tuple[float, bool, int | None]] = {
    "ordinary": (0.0, False, None),
    "uniform": (0.1, False, None),
    "s3rl": (0.1, True, 3),
    "uniform, half": (0.5, False, None),
    "s3rl, half": (0.5, True, 3),
}
COLOURS = dict(zip(ARMS, ("0.5", "#56B4E9", "#D55E00", "#0072B2", "#E69F00"), strict=True))

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)


def examine(model: PPO) -> float:
    """Mean score of the students that the greedy policy teaches, from ordinary starts; the same students every time."""
    envs: Any = gym.make_vec(ID, num_envs=EXAMINED, pool="evaluation", autoreset=False)
    return float(teach(envs, SB3Agent(model), FIRST_SEED)[0]["after"].mean())


def practise(arm: str, seed: int, store: SnapshotStore) -> list[float]:
    """One training: scores before, and after every so many steps."""
    share, classify, horizon = ARMS[arm]
    envs: Any = gym.make_vec(ID, num_envs=Teacher.students, reward="log_loss")
    if share:
        sampler = ValueClusters(store, CLUSTERS) if classify else None
        envs = VectorSnapshotReset(envs, store, sampler, horizon, until_step=int(share * STEPS))
    vec_env = as_vec_env(envs)
    model = PPO(SharedPolicy, vec_env, seed=seed, **Teacher.hyperparameters)
    vec_env.seed(1_000 * seed)
    scores = [examine(model)]
    for _ in range(STEPS // EVERY):
        model.learn(EVERY, reset_num_timesteps=False)
        scores.append(examine(model))
    return scores


@app.command()
def run(
    store: Annotated[Path, typer.Option(help="Lessons of a better teacher.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; finished runs found there are skipped.")],
    seeds: Annotated[int, typer.Option(min=2)] = 5,
) -> None:
    """Train every teacher that is missing; safe to kill and to start again."""
    torch.set_num_threads(1)
    lessons = SnapshotStore.load(store)
    write_atomically(out / "lessons.json", json.dumps(lessons.provenance).encode())
    cells = [(seed, arm) for seed in range(seeds) for arm in ARMS]
    with progress_bar() as bar:
        task = bar.add_task("", total=len(cells))
        for seed, arm in cells:
            path = out / f"{seed:03}-{arm.replace(', ', '-')}.json"
            bar.update(task, description=path.stem)
            if not path.exists():
                result = {"arm": arm, "seed": seed, "every": EVERY, "scores": practise(arm, seed, lessons)}
                write_atomically(path, json.dumps(result).encode())
            bar.advance(task)


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder that `run` wrote to.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where all results go, in one file.")],
    picture: Annotated[Path, typer.Option(help="Where the curves go.")],
) -> None:
    """A table, one picture and one file of all whole seeds."""
    runs = [json.loads(path.read_text()) for path in sorted(out.glob("[0-9]*.json"))]
    by_arm = {arm: {run["seed"]: np.array(run["scores"]) for run in runs if run["arm"] == arm} for arm in ARMS}
    whole = sorted(set.intersection(*(set(found) for found in by_arm.values())))
    curves = {arm: np.stack([found[seed] for seed in whole]) for arm, found in by_arm.items()}
    table = Table(title=f"{len(whole)} training seeds; differences to ordinary resets, paired by seed")
    for column in ("starts", "end", "mean of the curve", "difference at the end", "difference of the curves"):
        table.add_column(column)
    for arm, curve in curves.items():
        end, area = curve[:, -1], curve[:, 1:].mean(1)
        gains = [end - curves["ordinary"][:, -1], area - curves["ordinary"][:, 1:].mean(1)]
        told = ["", ""] if arm == "ordinary" else [str(mean_interval(gain)) for gain in gains]
        table.add_row(arm, mean_interval(end).unsigned(), mean_interval(area).unsigned(), *told)
    Console(width=130).print(table)
    lessons = json.loads((out / "lessons.json").read_text())
    kept = [run for run in runs if run["seed"] in whole]
    json_file.write_text(json.dumps({"lessons": lessons, "runs": kept}) + "\n")
    figure = Figure(figsize=(6, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    for arm, curve in curves.items():
        steps = EVERY * np.arange(curve.shape[1])
        bands = [mean_interval(column) for column in curve.T]
        axes.plot(steps, [band.mean for band in bands], color=COLOURS[arm], label=arm)
        axes.fill_between(steps, [b.low for b in bands], [b.high for b in bands], color=COLOURS[arm], alpha=0.12, lw=0)
    axes.set(xlabel="environment steps, without collection", ylabel="test accuracy on the targets")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    FigureCanvasAgg(figure)
    figure.savefig(picture)


if __name__ == "__main__":
    app()
