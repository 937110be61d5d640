"""What an environment step costs on each task, at the same budget, and how many times a step of arithmetic that is.

    python tests/benchmarks/tasks.py [--threads 1] [--rounds 5] [--students 64] [--json FILE]

A round is one lesson on every task, one step of each in turn, so that both sides of a ratio meet the same machine. A first
round, in which programs that no student wrote before are executed, does not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from population import seconds
from rich.console import Console
from rich.progress import track
from rich.table import Table

import kdgym  # noqa: F401  # registers the environments

TASKS = ("Math", "Code", "VQA")


def one_round(populations: dict[str, Any]) -> dict[str, float]:
    """Seconds of all steps of a lesson, but the last one, which would reset everybody again."""
    total = dict.fromkeys(populations, 0.0)
    for envs in populations.values():
        envs.reset(seed=0)
    for _ in range(min(envs.steps for envs in populations.values()) - 1):
        for name, envs in populations.items():
            action = np.zeros(envs.action_space.shape, np.float32)
            total[name] += seconds(lambda envs=envs, action=action: envs.step(action), least=0)
    return total


def measure(students: int, rounds: int) -> list[dict[str, Any]]:
    """Per task the median steps/s of a student, and the median of what a step takes in steps of the first task."""
    populations: dict[str, Any] = {name: gym.make_vec(f"kdgym/DataGen-{name}-v0", num_envs=students) for name in TASKS}
    one_round(populations)
    times = [one_round(populations) for _ in track(range(rounds), description="lessons")]
    steps = students * (populations[TASKS[0]].steps - 1)
    return [
        {
            "task": name,
            "steps_per_s": statistics.median(steps / time[name] for time in times),
            "ratio": statistics.median(time[name] / time[TASKS[0]] for time in times),
        }
        for name in TASKS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--students", type=int, default=64)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments.students, arguments.rounds)
    title = f"{arguments.students} students, {arguments.threads} thread(s), medians of {arguments.rounds} lessons"
    table = Table("task", "steps/s", f"a step, in steps of {TASKS[0]}", title=title)
    for row in rows:
        table.add_row(row["task"], f"{row['steps_per_s']:.0f}", f"{row['ratio']:.2f}")
    Console().print(table)
    if arguments.json:
        content = {
            "torch": torch.__version__,
            "threads": arguments.threads,
            "students": arguments.students,
            "rows": rows,
        }
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
