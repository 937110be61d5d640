"""What a second core gains: the same students in one process, in one Ray worker and in two, measured in interleaved rounds.

Every worker has one torch thread and is pinned to a core of its own; snapshots are taken as often as by default. A round
steps each variant in turn, while the others wait; the ratio is taken within a round.

    python tests/benchmarks/ray_workers.py [--students 64] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import kdgym  # noqa: F401  # registers the environments
from kdgym.integrations.ray import RayPopulation

ID = "kdgym/DataGen-Math-v0"


def pin(pid: int, core: int) -> None:
    """Let all threads of a process run on one core only."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


def in_workers(students: int, workers: int) -> RayPopulation:
    envs = RayPopulation(ID, students, workers)
    for pid, core in zip(envs.pids(), sorted(os.sched_getaffinity(0)), strict=False):
        pin(pid, core)
    return envs


def rate(envs: Any, lesson: np.ndarray) -> float:
    """Environment steps per second, over all students."""
    begin = time.perf_counter()
    for actions in lesson:
        envs.step(actions)
    return float(len(lesson) * envs.num_envs / (time.perf_counter() - begin))


def measure(students: int, rounds: int, steps: int) -> dict[str, list[float]]:
    """Steps per second of every variant in every round."""
    variants: dict[str, Any] = {
        "one process": gym.make_vec(ID, num_envs=students),
        "1 worker": in_workers(students, 1),
        "2 workers": in_workers(students, 2),
    }
    shape = (steps, *variants["one process"].action_space.shape)
    lesson = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    for envs in variants.values():
        envs.reset(seed=0)
        envs.step(lesson[0])
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in track(range(rounds), description="rounds"):
        for name, envs in variants.items():
            rates[name].append(rate(envs, lesson))
    for envs in variants.values():
        envs.close()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12, help="steps of a round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two workers are measured on two cores, and this process may use only one")
    torch.set_num_threads(1)
    # All variants exist at once and take turns.
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    rates = measure(arguments.students, arguments.rounds, arguments.steps)
    ray.shutdown()
    rows = {
        name: {
            "steps_per_s": statistics.median(values),
            "ratio_to_1_worker": statistics.median(v / w for v, w in zip(values, rates["1 worker"], strict=True)),
        }
        for name, values in rates.items()
    }
    title = f"{arguments.students} students, one thread a worker, median of {arguments.rounds} rounds"
    table = Table("", "steps/s", "times 1 worker", title=title)
    for name, row in rows.items():
        table.add_row(name, f"{row['steps_per_s']:.1f}", f"{row['ratio_to_1_worker']:.2f}")
    Console().print(table)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        content = {"machine": machine, "ray": ray.__version__, "students": arguments.students, "rows": rows}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
