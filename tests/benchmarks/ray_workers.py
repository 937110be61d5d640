"""What a second Ray worker gains: the same students on one worker and on two, each worker on a core of its own.

python tests/benchmarks/ray_workers.py [--students 64] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rich.console import Console
from rich.progress import track

from kdgym.integrations.ray import RayPopulation

ID, STEPS = "kdgym/DataGen-Math-v0", 6


def pinned(students: int, workers: int) -> Any:
    """A population whose i-th worker runs on core i alone."""
    envs = RayPopulation(ID, students, workers=workers)
    for core, shard in enumerate(envs._shards):
        for thread in Path(f"/proc/{ray.get(shard.worker.pid.remote())}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
    envs.reset(seed=0)
    return envs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    populations = {workers: pinned(arguments.students, workers) for workers in (1, 2)}
    action = np.zeros(populations[1].action_space.shape, np.float32)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in track(range(arguments.rounds), description="rounds"):
        for workers, envs in populations.items():
            begin = time.perf_counter()
            for _ in range(STEPS):
                envs.step(action)
            times[workers].append((time.perf_counter() - begin) / STEPS / arguments.students)
    ratio = statistics.median(one / two for one, two in zip(times[1], times[2], strict=True))
    speed = {workers: 1 / statistics.median(values) for workers, values in times.items()}
    console = Console()
    for workers, steps in speed.items():
        console.print(f"{workers} worker(s), one core each: {steps:.0f} steps/s")
    console.print(f"two against one: {ratio:.2f} (median of {arguments.rounds} rounds, {arguments.students} students)")
    if arguments.json:
        content = {"students": arguments.students, "steps_per_s": speed, "two_against_one": ratio}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
