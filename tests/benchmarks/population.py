"""How fast do students learn? Engines against what one would first write, and against the processor's limit.

Every variant does an environment step's work: learn 640 items in batches of 16, answer 14 x 64 examination items. All
variants run in every round, one after the other, because machines are noisy; ratios are taken within a round. JAX's rows need
the extra ``bench``.

    python tests/benchmarks/population.py [--threads 1] [--rounds 5] [--sizes 1 4 16 64 256 1024] [--json FILE] [--picture FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from baselines import EXAMINED, ITEMS, Loop, Vmapped, Work
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table

from kdgym.students import TransformerConfig

LARGEST_VMAPPED = 64  # students; its time per student has stopped falling there
COLOURS = {"kernel": "C3", "torch": "C0", "vmap": "C1", "JAX jit(vmap)": "C2", "JAX jit(lax.map)": "C4"}
PEAK = 1024  # rows of the square matrices whose product sets the limit


class Variant(Protocol):
    """S students that do one step's work when run."""

    students: int

    def run(self) -> None: ...


def seconds(run: Callable[[], object], least: float = 0.1) -> float:
    """Seconds of one run, from as many runs as take ``least`` seconds."""
    begin, runs = time.perf_counter(), 0
    while runs == 0 or time.perf_counter() - begin < least:
        run()
        runs += 1
    return (time.perf_counter() - begin) / runs


def variants(sizes: list[int]) -> dict[tuple[str, int], Variant]:
    chosen: dict[tuple[str, int], Variant] = {("loop", 1): Loop()}
    for size in sizes:
        chosen[("kernel", size)] = Work(size, "kernel")
        chosen[("torch", size)] = Work(size, "torch")
        if size <= LARGEST_VMAPPED:
            chosen[("vmap", size)] = Vmapped(size)
        if importlib.util.find_spec("jax"):
            from jax_baselines import MAPPINGS, Jaxed

            chosen |= {(f"JAX {name}", size): Jaxed(size, name) for name in MAPPINGS}
    return chosen


def measure(sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row per variant: medians over rounds of steps/s, ratio to the loop, GFLOP/s, and share of the matrix product's."""
    chosen, square, flops = variants(sizes), torch.randn(PEAK, PEAK), Work(1).flops
    for variant in chosen.values():
        variant.run()
    times: dict[tuple[str, int], list[float]] = {key: [] for key in chosen}
    peaks = []
    for _ in track(range(rounds), description="rounds"):
        peaks.append(2 * PEAK**3 / seconds(lambda: square @ square) / 1e9)
        for key, variant in chosen.items():
            times[key].append(seconds(variant.run) / variant.students)
    loop = times["loop", 1]
    rows = []
    for (engine, size), values in times.items():
        gflops = [flops / value / 1e9 for value in values]
        row = {"engine": engine, "students": size, "steps_per_s": statistics.median(1 / value for value in values)}
        row["ratio_to_loop"] = statistics.median(a / b for a, b in zip(loop, values, strict=True))
        row["gflops"] = statistics.median(gflops)
        row["share_of_peak"] = statistics.median(a / b for a, b in zip(gflops, peaks, strict=True))
        rows.append(row)
    return [{"engine": "matrix product", "students": PEAK, "gflops": statistics.median(peaks)}, *rows]


def measure_shapes(rounds: int) -> list[dict[str, Any]]:
    """A row per size of the student (16 students, kernel): medians of microseconds an item learned and an item examined
    take, of milliseconds a step, and GFLOP/s.
    """
    rows = []
    for width, layers in ((16, 1), (32, 1), (32, 2), (64, 1), (64, 2), (128, 1)):
        work = Work(16, "kernel", TransformerConfig(width=width, layers=layers, heads=min(4, width // 8)))
        work.run()
        times = [(seconds(work.learn), seconds(work.examine)) for _ in range(rounds)]
        learn, examine = (statistics.median(column) / work.students for column in zip(*times, strict=True))
        row: dict[str, Any] = {"width": width, "layers": layers, "weights": work.engine.weights}
        row |= {"us_learned": 1e6 * learn / ITEMS, "us_examined": 1e6 * examine / EXAMINED}
        rows.append({**row, "ms": 1e3 * (learn + examine), "gflops": work.flops / (learn + examine) / 1e9})
    return rows


def measure_threads(rounds: int) -> dict[int, float]:
    """Median speed of 1, 2, ... threads against one, for 256 students (kernel)."""
    work, before = Work(256, "kernel"), torch.get_num_threads()
    work.run()
    times: dict[int, list[float]] = {threads: [] for threads in range(1, (os.cpu_count() or 1) + 1)}
    for _ in range(rounds):
        for threads, values in times.items():
            torch.set_num_threads(threads)
            values.append(seconds(work.run))
    torch.set_num_threads(before)
    return {
        n: statistics.median(one / t for one, t in zip(times[1], values, strict=True)) for n, values in times.items()
    }


def picture(rows: list[dict[str, Any]], threads: int, path: Path) -> None:
    """Steps per second and share of the limit over the number of students."""
    figure = Figure(figsize=(9.6, 4), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    loop = next(row["steps_per_s"] for row in rows if row["engine"] == "loop")
    left.axhline(loop, color="0.4", linestyle="--", label="loop over students")
    for engine, colour in COLOURS.items():
        mine = [row for row in rows if row["engine"] == engine]  # none of JAX, where it is not installed
        students = [row["students"] for row in mine]
        left.plot(students, [row["steps_per_s"] for row in mine], "o-", color=colour, label=engine)
        right.plot(students, [row["share_of_peak"] for row in mine], "o-", color=colour, label=engine)
    left.set_yscale("log")
    left.set_ylim(bottom=5)
    left.yaxis.set_major_formatter("{x:g}")
    left.set_ylabel("students' steps per second")
    right.set_ylabel("share of a matrix product's FLOP/s")
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("students in the population")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    right.plot([], [], color="0.4", linestyle="--", label="loop over students")
    right.legend(frameon=False)
    figure.suptitle(f"Teaching and examining tiny students, {threads} thread{'s' * (threads > 1)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 64, 256, 1024])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["NPROC"] = str(arguments.threads)  # JAX's threads; read when it is imported
    rows = measure(arguments.sizes, arguments.rounds)
    title = f"one environment step's work, {arguments.threads} thread(s), medians of {arguments.rounds} rounds"
    table = Table("engine", "students", "steps/s", "times the loop", "GFLOP/s", "of the peak", title=title)
    for row in rows:
        speeds = [f"{row[key]:.1f}" if key in row else "" for key in ("steps_per_s", "ratio_to_loop", "gflops")]
        share = f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "100%"
        table.add_row(row["engine"], str(row["students"]), *speeds, share)
    shapes, threads = measure_shapes(arguments.rounds), measure_threads(arguments.rounds)
    columns = ("width", "layers", "weights", "us an item learned", "us an item examined", "ms a step", "GFLOP/s")
    sizes = Table(*columns, title="the size of the student")
    for row in shapes:
        sizes.add_row(*(f"{value:d}" if isinstance(value, int) else f"{value:.1f}" for value in row.values()))
    console = Console()
    console.print(table)
    console.print(sizes)
    console.print(
        "threads against one, 256 students:", *(f"{n}: {ratio:.2f}" for n, ratio in threads.items()), sep="  "
    )
    if arguments.picture:
        picture(rows, arguments.threads, arguments.picture)
    if arguments.json:
        content = {"torch": torch.__version__, "threads": arguments.threads, "rounds": arguments.rounds, "rows": rows}
        content |= {"shapes": shapes, "threads_against_one": threads}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
