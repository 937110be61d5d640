"""What the command line costs before it does anything: processor time (user and system) of a new process.

    python tests/benchmarks/start_up.py [--rounds 11]

Rounds are interleaved, and the last column is relative to ``import gymnasium``, which whatever opens an environment imports.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

BASE = "python -c 'import gymnasium'"
RUNS = {
    "python -c pass": ("-c", "pass"),
    BASE: ("-c", "import gymnasium"),
    "python -c 'import kdgym'": ("-c", "import kdgym"),
    "kdgym --version": ("-m", "kdgym.cli", "--version"),
    "kdgym list": ("-m", "kdgym.cli", "list"),
    "kdgym --help": ("-m", "kdgym.cli", "--help"),
    "kdgym compare --help": ("-m", "kdgym.cli", "compare", "--help"),
}


def processor_seconds(arguments: tuple[str, ...]) -> float:
    """User and system seconds of one Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    rounds = range(parser.parse_args().rounds)
    found = [{name: processor_seconds(arguments) for name, arguments in RUNS.items()} for _ in rounds]
    table = Table("process", "median s", "least s", f"to {BASE}", box=None, header_style="bold")
    for name in RUNS:
        seconds = [one[name] for one in found]
        ratio = statistics.median(one[name] / one[BASE] for one in found)
        table.add_row(name, f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}", f"{ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
