"""The ablation of S3RL that was never published: does it matter where a student's first episodes start, and when they are cut?

    python tests/benchmarks/snapshots_ablation.py run        # goes on where it was stopped; finished runs are skipped
    python tests/benchmarks/snapshots_ablation.py report     # tables, picture, and snapshots-ablation.json, which `run` reads

Ways to start {ordinary, random snapshots, SC only, STT only, S3RL} x {PPO, SAC, TD3} with Stable-Baselines3's defaults x
three tasks x seeds. One seed's cells are run before the next seed begins, so whatever is finished is a set of whole seeds.
Runs are short, so S3RL's constants are scaled: cut after a tenth of the task's time limit (published: 100 of 1000), guided for
the first half (published: a tenth, which is 100 time limits; a tenth of these runs would be one or less). Teachers are rules
that solve the tasks, and a snapshot's value is what its own trajectory went on to return, discounted.
"""

from __future__ import annotations

import dataclasses
import functools
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
from kdgym.wrappers import SnapshotStore, collect_snapshots, s3rl
from kdgym.wrappers.store import returns_to_go

ARMS: dict[str, dict[str, bool] | None] = {
    "ordinary": None,
    "random": {"classify": False, "truncate": False},
    "sc": {"classify": True, "truncate": False},
    "stt": {"classify": False, "truncate": True},
    "s3rl": {"classify": True, "truncate": True},
}
CELL = ("task", "algorithm", "arm", "seed")
EPISODES = 5  # of an examination
EXAMINATION_SEED, COLLECTING_SEED = 2_000, 3_000
HERE = Path(__file__).parent
RESULTS, OUT = HERE / "snapshots-ablation.json", Path("runs/snapshots")


@dataclass(frozen=True)
class Student:
    """An algorithm with SB3's defaults: how long it practises, and how often it is examined."""

    algorithm: type[BaseAlgorithm]
    steps: int
    every: int
    clusters: int  # as published
    adam: dict[str, Any]  # the same Adam as SB3's, in one kernel; PPO's has its own epsilon


STUDENTS = {
    "PPO": Student(PPO, 6 * 2048, 2 * 2048, 6, {"fused": True, "eps": 1e-5}),
    "SAC": Student(SAC, 2000, 250, 4, {"fused": True}),
    "TD3": Student(TD3, 2000, 250, 6, {"fused": True}),
}


@dataclass(frozen=True)
class Teacher:
    """A rule: observations [..., n] -> actions [..., m]; how many episodes it collects, and how often it acts at random there.

    Without carelessness, a task that has no goal has no states of different worth.
    """

    rule: Any
    episodes: int
    careless: float = 0.0

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        """As SB3's models do."""
        return self.rule(np.asarray(observation, np.float64)).astype(np.float32), None


def balance(seen: Any) -> Any:
    """InvertedPendulum: linear feedback."""
    return np.clip(seen @ np.array([[1], [10], [1], [1.5]]), -3, 3)


def swing(seen: Any) -> Any:
    """Pendulum: swing up by energy, and balance where that is in reach; as `kdgym.tasks.control.Pendulum`."""
    cos, sin, speed = np.split(seen, 3, axis=-1)
    angle, missing = np.arctan2(sin, cos), 15 * (1 - cos) - 0.5 * speed**2
    pump = 2 * np.where(speed >= 0, 1, -1) * np.sign(missing)
    return np.clip(np.where(np.abs(angle) < 0.5, -(8 * angle + 2 * speed), pump), -2, 2)


def reach(seen: Any) -> Any:
    """Reacher: a spring from fingertip to target, through the arm's Jacobian (links of 0.1 and 0.11 m), and friction."""
    cos, sin = seen[..., 0:2], seen[..., 2:4]
    upper = 0.1 * np.stack([-sin[..., 0], cos[..., 0]], axis=-1)
    lower = 0.11 * np.stack(
        [-(sin[..., 0] * cos[..., 1] + cos[..., 0] * sin[..., 1]), cos.prod(-1) - sin.prod(-1)], axis=-1
    )
    jacobian = np.stack([upper + lower, lower], axis=-2)
    return np.clip(-10 * (jacobian @ seen[..., 8:10, None])[..., 0] - 0.05 * seen[..., 6:8], -1, 1)


TEACHERS = {
    "InvertedPendulum-v5": Teacher(balance, 3, careless=0.2),
    "Pendulum-v1": Teacher(swing, 2),
    "Reacher-v5": Teacher(reach, 10),
}

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)


class RewardsOfEpisodes(gym.Wrapper[Any, Any, Any, Any]):
    """Remembers all rewards, episode by episode."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.rewards: list[list[float]] = []

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.rewards.append([])
        return self.env.reset(**options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        outcome = self.env.step(action)
        self.rewards[-1].append(float(outcome[1]))
        return outcome


def examine(model: BaseAlgorithm | Teacher, task: str) -> float:
    """Mean return of the greedy policy from ordinary starts, the same ones every time."""
    envs = make_vec_env(task, n_envs=EPISODES, seed=EXAMINATION_SEED)
    return float(np.mean(evaluate_policy(model, envs, n_eval_episodes=EPISODES, return_episode_rewards=True)[0]))


@functools.cache
def snapshots_of(task: str) -> SnapshotStore:
    """What the task's teacher passed through, with its return in the provenance."""
    teacher, env, rng = TEACHERS[task], RewardsOfEpisodes(gym.make(task)), np.random.default_rng(COLLECTING_SEED)

    def act(observation: Any) -> Any:
        if rng.random() < teacher.careless:
            return rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)  # type: ignore[attr-defined]
        return teacher.predict(observation)[0]

    store = collect_snapshots(env, act, None, teacher.episodes, seed=COLLECTING_SEED, policy=teacher.rule.__name__)
    left = [returns_to_go(rewards, 0.99) for rewards in env.rewards]
    value = np.array([left[episode][step] for episode, step in zip(store.episode, store.step, strict=True)])
    store.provenance["teacher_return"] = examine(teacher, task)
    return dataclasses.replace(store, value=value)


def practise(task: str, name: str, arm: str, seed: int) -> dict[str, Any]:
    """One student's practice: its returns before, and after every so many steps."""
    student, rule = STUDENTS[name], ARMS[arm]
    env: gym.Env[Any, Any] = gym.make(task)
    limit = gym.spec(task).max_episode_steps
    assert limit is not None
    if rule is not None:
        env = s3rl(env, snapshots_of(task), student.clusters, limit // 10, student.steps // 2, **rule)
    adam = {"optimizer_kwargs": student.adam}
    model = student.algorithm("MlpPolicy", env, seed=seed, policy_kwargs=adam)  # type: ignore[call-arg]
    returns = [examine(model, task)]
    for _ in range(student.steps // student.every):
        model.learn(student.every, reset_num_timesteps=False)
        returns.append(examine(model, task))
    return {"task": task, "algorithm": name, "arm": arm, "seed": seed, "every": student.every, "returns": returns}


def finished(out: Path) -> list[dict[str, Any]]:
    """Runs in the file of results, and those that ``run`` has left in ``out`` since."""
    kept = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    runs = [*kept, *(json.loads(path.read_text()) for path in sorted(out.glob("*.json")))]
    found = {tuple(result[part] for part in CELL): result for result in runs}
    return [found[cell] for cell in sorted(found)]


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder of finished runs, until they are reported.")] = OUT,
    seeds: Annotated[int, typer.Option(min=2)] = 10,
    algorithm: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
) -> None:
    """Train every student that is missing; safe to kill and to start again, and to run beside another."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    done = {tuple(result[part] for part in CELL) for result in finished(out)}
    cells = list(itertools.product(range(seeds), algorithm or STUDENTS, TEACHERS, ARMS))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=len(cells))
        for seed, name, task, arm in cells:
            path = out / f"{seed:03}-{task}-{name}-{arm}.json"
            progress.update(bar, description=path.stem)
            if (task, name, arm, seed) not in done and not path.exists():
                write_atomically(path, json.dumps(practise(task, name, arm, seed)).encode())
            progress.advance(bar)


@app.command(name="report")
def report_command(
    out: Annotated[Path, typer.Option(help="Folder that `run` wrote to.")] = OUT,
    picture: Annotated[Path, typer.Option(help="Where the curves go.")] = HERE.parents[1] / "docs" / "snapshots.png",
) -> None:
    """Tables and one picture of all whole seeds, and one file of all finished runs."""
    report(finished(out), {task: snapshots_of(task).provenance for task in TEACHERS}, RESULTS, picture)


if __name__ == "__main__":
    app()
