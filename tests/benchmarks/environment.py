"""What a whole environment step costs: how much of it is not learning, what a student weighs, what a snapshot takes.

    python tests/benchmarks/environment.py [--threads 1] [--rounds 5] [--sizes 1 4 16 64 256 1024] [--json FILE]

``AsyncVectorEnv`` is Gymnasium's way to step many single environments, one process each; it gets as many students as
``--processes`` says, and the population the same number.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
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

ID = "kdgym/DataGen-Math-v0"


class Timed:
    """A population, with a clock around its students' training and examinations."""

    def __init__(self, envs: Any) -> None:
        self.envs = envs
        self.learning = 0.0
        engine = self.envs.students
        for name in ("train", "evaluate"):
            setattr(engine, name, self._clocked(getattr(engine, name)))
        self.action = np.zeros(self.envs.action_space.shape, np.float32)

    def _clocked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            begin = time.perf_counter()
            result = function(*arguments)
            self.learning += time.perf_counter() - begin
            return result

        return run

    def episode(self) -> tuple[float, float]:
        """Seconds of a whole episode, its reset included, and the share of them that is neither training nor examination."""
        self.learning, begin = 0.0, time.perf_counter()
        self.envs.reset(seed=0)
        for _ in range(self.envs.steps - 1):  # the last step would reset everybody again
            self.envs.step(self.action)
        total = time.perf_counter() - begin
        return total, 1 - self.learning / total


def measure(sizes: list[int], rounds: int) -> list[dict[str, float]]:
    """Per number of students: medians of steps/s, share of overhead, and kilobytes of memory a further student takes."""
    rows, peak = [], _peak()
    before = 0
    for size in track(sorted(sizes), description="populations"):
        timed = Timed(gym.make_vec(ID, num_envs=size))
        timed.episode()
        runs = [timed.episode() for _ in range(rounds)]
        steps = [size * (timed.envs.steps - 1) / total for total, _ in runs]
        row = {"students": size, "steps_per_s": statistics.median(steps)}
        row |= {"overhead": statistics.median(share for _, share in runs)}
        row |= {"state_kB": sum(b.nbytes for b in timed.envs.state.buffers.values()) / size / 1e3}
        if size > 64:  # below, a student's memory is lost among the program's own
            row["memory_kB"] = (_peak() - peak) / (size - before)
        peak, before = _peak(), size
        rows.append(row)
    return rows


def _peak() -> float:
    """Kilobytes of memory at the most so far."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def measure_processes(students: int, rounds: int) -> dict[str, float]:
    """Median steps/s of a population and of as many single environments in processes, and the median ratio."""
    population: Any = gym.make_vec(ID, num_envs=students)
    processes: Any = gym.make_vec(ID, num_envs=students, vectorization_mode="async")
    times: dict[str, list[float]] = {"population": [], "AsyncVectorEnv": []}
    try:
        action = np.zeros(population.action_space.shape, np.float32)
        for _ in range(rounds + 1):
            for name, envs in (("population", population), ("AsyncVectorEnv", processes)):
                envs.reset(seed=0)
                begin = time.perf_counter()
                for _ in range(10):
                    envs.step(action)
                times[name].append((time.perf_counter() - begin) / 10 / students)
    finally:
        processes.close()
    result = {name: 1 / statistics.median(values[1:]) for name, values in times.items()}
    ratios = [a / b for a, b in zip(times["AsyncVectorEnv"][1:], times["population"][1:], strict=True)]
    return {"students": students, **result, "ratio": statistics.median(ratios)}


def measure_snapshots(rounds: int) -> dict[str, float]:
    """Median microseconds to snapshot and to restore one student, as a single environment and inside a population."""
    env: Any = gym.make(ID).unwrapped
    envs: Any = gym.make_vec(ID, num_envs=32)
    env.reset(seed=0)
    envs.reset(seed=0)
    one, of_many = env.snapshot(), envs.snapshot(5)
    runs: dict[str, Callable[[], object]] = {
        "snapshot, single": env.snapshot,
        "restore, single": lambda: env.restore(one),
        "snapshot, one of 32": lambda: envs.snapshot(5),
        "restore, one of 32": lambda: envs.restore(of_many, 5),
    }
    return {name: statistics.median(seconds(run) for _ in range(rounds)) * 1e6 for name, run in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 64, 256, 1024])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments.sizes, arguments.rounds)
    processes, snapshots = measure_processes(arguments.processes, arguments.rounds), measure_snapshots(arguments.rounds)
    console = Console()
    title = f"{ID}, uniform teacher, {arguments.threads} thread(s), medians of {arguments.rounds} episodes"
    table = Table("students", "steps/s", "overhead", "state, kB", "memory, kB", title=title)
    for row in rows:
        memory = f"{row['memory_kB']:.0f}" if "memory_kB" in row else ""
        speed, share = f"{row['steps_per_s']:.0f}", f"{row['overhead']:.1%}"
        table.add_row(str(row["students"]), speed, share, f"{row['state_kB']:.0f}", memory)
    console.print(table)
    names = ("population", "AsyncVectorEnv")
    console.print(
        f"{processes['students']} students:", *(f"{name} {processes[name]:.0f} steps/s" for name in names), sep="  "
    )
    console.print("Microseconds:", *(f"{name} {value:.0f}" for name, value in snapshots.items()), sep="  ")
    if arguments.json:
        content = {"torch": torch.__version__, "threads": arguments.threads, "rows": rows}
        content |= {"processes": processes, "snapshot_us": snapshots}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
