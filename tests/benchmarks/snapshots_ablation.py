"""The ablation of S3RL that was never published: does it matter where a student's first episodes start, and when they are cut?

    python tests/benchmarks/snapshots_ablation.py run --out runs/snapshots       # resumes; finished runs are skipped
    python tests/benchmarks/snapshots_ablation.py report --out runs/snapshots --json FILE --picture FILE

Ways to start {ordinary, random snapshots, SC only, STT only, S3RL} x {TD3, SAC, PPO} with Stable-Baselines3's defaults x
three tasks x seeds. One seed's cells are run before the next seed begins, so whatever is finished is a set of whole seeds.
S3RL's constants are scaled to short runs: snapshots in the first tenth of the steps (published: 100k of 1M), cut after a tenth
of the task's time limit (published: 100 of 1000). All students of a task share a teacher that solves it.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from snapshots_report import report
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from kdgym.storage import write_atomically
from kdgym.wrappers import SnapshotStore, collect_snapshots, s3rl, sb3_policy

ARMS: dict[str, dict[str, bool] | None] = {
    "ordinary": None,
    "random": {"classify": False, "truncate": False},
    "sc": {"classify": True, "truncate": False},
    "stt": {"classify": False, "truncate": True},
    "s3rl": {"classify": True, "truncate": True},
}
EPISODES = 5  # of an examination
COLLECTED = 1000  # most environment steps that the teacher spends on snapshots, in whole episodes
TEACHER_STEPS, TEACHER_CHUNK = 60_000, 1000
TEACHER_SEED, EXAMINATION_SEED, COLLECTING_SEED = 1_000, 2_000, 3_000


@dataclass(frozen=True)
class Student:
    """An algorithm with SB3's defaults: how long it practises, and how often it is examined."""

    algorithm: type[BaseAlgorithm]
    steps: int
    every: int
    clusters: int  # as published


class Rocker:
    """A rule for a teacher: push where the car rolls. TD3 with slow noise was still in the valley after 8,000 steps."""

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        """Full throttle in the direction of the velocity."""
        return np.where(np.asarray(observation)[..., 1:] >= 0, 1, -1).astype(np.float32), None

    def value(self, observation: Any, action: Any) -> float:
        """What the rule goes on to return, discounted as SB3's critics do."""
        env: Any = gym.make("MountainCarContinuous-v0").unwrapped
        env.reset(seed=0)
        env.state, total, weight, over = np.array(observation), 0.0, 1.0, False
        while not over:
            _, reward, over, *_ = env.step(self.predict(env.state)[0])
            total, weight = total + weight * reward, 0.99 * weight
        return total


# Who collects: an algorithm with SB3's defaults, trained until it returns so much, or a rule.
TASKS: dict[str, tuple[type[BaseAlgorithm] | type[Rocker], float]] = {
    "Pendulum-v1": (TD3, -200),
    "InvertedPendulum-v5": (PPO, 950),
    "MountainCarContinuous-v0": (Rocker, 85),
}
STUDENTS = {
    "TD3": Student(TD3, 4000, 500, 6),
    "SAC": Student(SAC, 4000, 500, 4),
    "PPO": Student(PPO, 15 * 2048, 2048, 6),
}

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)


def examine(model: BaseAlgorithm | Rocker, task: str) -> float:
    """Mean return of the greedy policy from ordinary starts, the same ones every time."""
    envs = make_vec_env(task, n_envs=EPISODES, seed=EXAMINATION_SEED)
    return float(np.mean(evaluate_policy(model, envs, n_eval_episodes=EPISODES, return_episode_rewards=True)[0]))


def teacher_of(task: str) -> tuple[BaseAlgorithm | Rocker, int]:
    """A teacher that solves the task, and how many environment steps its training took."""
    kind, solved = TASKS[task]
    if kind is Rocker:
        return Rocker(), 0
    teacher: Any = kind("MlpPolicy", gym.make(task), seed=TEACHER_SEED)
    while examine(teacher, task) < solved:
        if teacher.num_timesteps >= TEACHER_STEPS:
            raise RuntimeError(f"After {TEACHER_STEPS} steps the teacher of {task} does not return {solved} yet.")
        teacher.learn(TEACHER_CHUNK, reset_num_timesteps=False)
    return teacher, teacher.num_timesteps


def snapshots_of(task: str, out: Path) -> SnapshotStore:
    """What a teacher of this task passed through; trained and collected once, then read."""
    path = out / f"{task}.safetensors"
    if path.exists():
        return SnapshotStore.load(path)
    teacher, steps = teacher_of(task)
    first = evaluate_policy(teacher, make_vec_env(task, seed=COLLECTING_SEED), 1, return_episode_rewards=True)
    episodes = max(1, COLLECTED // int(first[1][0]))
    if isinstance(teacher, Rocker):
        act, value = lambda seen: teacher.predict(seen)[0], teacher.value
    else:
        act, value = sb3_policy(teacher)
    name = type(teacher).__name__
    store = collect_snapshots(gym.make(task), act, value, episodes, seed=COLLECTING_SEED, policy=name)
    untrained = TD3("MlpPolicy", gym.make(task), seed=TEACHER_SEED)
    store.provenance.update(
        teacher_steps=steps, teacher_return=examine(teacher, task), untrained_return=examine(untrained, task)
    )
    store.save(path)
    return store


def practise(task: str, name: str, arm: str, seed: int, store: SnapshotStore) -> dict[str, Any]:
    """One student's practice: its returns before, and after every so many steps."""
    student, rule = STUDENTS[name], ARMS[arm]
    env: gym.Env[Any, Any] = gym.make(task)
    limit = env.spec.max_episode_steps if env.spec else None
    assert limit is not None
    if rule is not None:
        env = s3rl(env, store, student.clusters, limit // 10, student.steps // 10, **rule)
    model = student.algorithm("MlpPolicy", env, seed=seed)  # type: ignore[call-arg]
    returns = [examine(model, task)]
    for _ in range(student.steps // student.every):
        model.learn(student.every, reset_num_timesteps=False)
        returns.append(examine(model, task))
    return {"task": task, "algorithm": name, "arm": arm, "seed": seed, "every": student.every, "returns": returns}


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of the results; finished runs found there are skipped.")],
    seeds: Annotated[int, typer.Option(min=2)] = 10,
) -> None:
    """Train every student that is missing, and teachers as they are needed; safe to kill and to start again."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    cells = list(itertools.product(range(seeds), TASKS, STUDENTS, ARMS))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(cells))
        for seed, task, name, arm in cells:
            path = out / f"{seed:03}-{task}-{name}-{arm}.json"
            progress.update(bar, description=path.stem)
            if not path.exists():
                result = practise(task, name, arm, seed, snapshots_of(task, out))
                write_atomically(path, json.dumps(result).encode())
            progress.advance(bar)


@app.command(name="report")
def report_command(
    out: Annotated[Path, typer.Option(help="Folder that `run` wrote to.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where all results go, in one file.")],
    picture: Annotated[Path, typer.Option(help="Where the curves go.")],
) -> None:
    """Tables, one picture and one file of all whole seeds."""
    stores = {task: SnapshotStore.load(out / f"{task}.safetensors").provenance for task in TASKS}
    results = [json.loads(path.read_text()) for path in sorted(out.glob("[0-9]*.json"))]
    report(results, stores, json_file, picture)


if __name__ == "__main__":
    app()
