"""What a GPU gains: its tests, populations of tiny students, populations of language models, answers by vLLM.

    make gpu [DEVICE=cuda] [QUICK=1]
    python tests/benchmarks/gpu.py [--device cuda] [--quick] [--seconds 480] [--out FILE.json]
    python tests/benchmarks/gpu.py --redraw FILE.json

Parts run in the order of their value, each in a process of its own, and share the time. The report, one JSON file, is complete
after every measurement, and so are the pictures beside it. A part that fails has an ``error`` and no more results; the exit
status is then 1. ``--quick`` runs the same code at tiny sizes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from gpu_picture import draw
from report import Part, Report, run_parts

import kdgym

ROOT = Path(__file__).parents[2]
SHARES = {"tests": 4, "populations": 5, "language": 4, "answers": 4}  # of the time; each part is a module, gpu_NAME


def describe(device: torch.device) -> dict[str, Any] | None:
    """The machine, and what runs on it; None where there is no such device."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return None
    cuda = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "device": str(device) if cuda is None else cuda.name,
        "device_memory": None if cuda is None else cuda.total_memory,
        "multiprocessors": None if cuda is None else cuda.multi_processor_count,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "threads": len(os.sched_getaffinity(0)),
        "kdgym": kdgym.__version__,
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=12"),
    }


def _output(*command: str) -> str | None:
    """What a program prints; None where there is no such program, or it fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    known = re.search(r"model name\s*:\s*(.+)", information.read_text()) if information.is_file() else None
    return known[1] if known else platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--seconds", type=float, default=480.0, help="of all parts together")
    parser.add_argument("--out", type=Path, help="JSON file; by default runs/gpu/ for quick runs and on a cpu")
    parser.add_argument("--redraw", type=Path, help="draw the pictures of this JSON file again, and nothing else")
    arguments = parser.parse_args()
    if arguments.redraw:
        draw(Report(arguments.redraw).content, arguments.redraw)
        return 0
    return run(torch.device(arguments.device), arguments.quick, arguments.seconds, arguments.out)


def measure(name: str, part: Part, device: torch.device, quick: bool) -> None:
    """Measure one part. Its module is imported here, in a process of its own, because a library may use a GPU when imported."""
    importlib.import_module(f"gpu_{name}").measure(part, device, quick)


def run(device: torch.device, quick: bool, seconds: float, out: Path | None) -> int:
    """Measure everything; the exit status.

    A process that has used a GPU cannot be forked any more, and keeps some of its memory; so this one does not.
    """
    torch.set_num_threads(1)  # on busy cores several are slower; only the kernel gets all of them
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        machine = pool.submit(describe, device).result()
    if machine is None:
        sys.exit("torch finds no CUDA device here; `make gpu DEVICE=cpu QUICK=1` runs the same script on a CPU.")
    name = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    folder = ROOT / "runs" / "gpu" if quick or device.type == "cpu" else Path(__file__).with_name("gpu")
    path = out or folder / f"{name}.json"
    path.unlink(missing_ok=True)
    report = Report(path)
    report.content = {"machine": machine, "quick": quick, "budget_s": seconds, "parts": {}}
    report.write()
    parts = {name: partial(measure, name, device=device, quick=quick) for name in SHARES}
    run_parts(path, parts, SHARES, seconds, draw)
    report = Report(path)
    draw(report.content, path)
    for name, part in report.content["parts"].items():
        told = part.get("skipped") or part.get("error", "").strip().rpartition("\n")[2]
        print(f"{name}: {part['status']} after {part.get('seconds', 0):.0f} s{': ' * bool(told)}{told}")  # noqa: T201
    print(f"{path}, with pictures beside it")  # noqa: T201
    return int(bool(report.failures()))


if __name__ == "__main__":
    sys.exit(main())
