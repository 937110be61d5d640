"""What measuring on a device takes: waiting for it, its limits, its memory, and several rounds in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from population import seconds
from report import Part

GROWTH = 4  # at most, of the time from one size to the next


def synchronised(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """``run``, which is over when the device has done it."""

    def wait() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return wait


def clock(run: Callable[[], object], device: torch.device, students: int = 1) -> Callable[[], float]:
    """Measures seconds a student of ``run``, which is run once now, as first runs are slower."""
    step = synchronised(run, device)
    step()
    return lambda: seconds(step) / students


def limits(device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], float]]:
    """How to measure a device's FLOP/s in a square matrix product and its bytes/s in a copy, read and written."""
    rows, size = (8192, 1 << 30) if device.type == "cuda" else (256, 1 << 26)
    square = torch.randn(rows, rows, device=device, dtype=dtype)
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    product, copy = clock(lambda: square @ square, device), clock(lambda: target.copy_(source), device)
    return {"matmul_flops": lambda: 2 * rows**3 / product(), "copy_bytes": lambda: 2 * size / copy()}


def in_turn(part: Part, number: int, measured: dict[str, Callable[[], float]]) -> list[dict[str, float]]:
    """Up to ``number`` rounds, each with one figure of everything; at least one, and no more than there is time for."""
    rounds: list[dict[str, float]] = []
    while len(rounds) < number and (not rounds or part.left > 0):
        rounds.append({name: measure() for name, measure in measured.items()})
    return rounds


def by_size(
    part: Part, rows: list[dict[str, Any]], sizes: Sequence[int], measure: Callable[[dict[str, Any]], None]
) -> None:
    """A row for every number of students, written as soon as it is measured; sizes that do not fit, or not into the time, are
    entered as left out.

    Args:
        part: what is measured.
        rows: of its results; ``students`` and what ``measure`` adds.
        sizes: numbers of students, increasing.
        measure: fills a row.
    """
    last = 0.0
    for place, size in enumerate(sizes):
        if not part.time_for(f"{size} students", GROWTH * last):
            continue
        begin, row = time.monotonic(), {"students": size}
        rows.append(row)
        try:
            measure(row)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            row["error"] = f"out of memory: {str(error).splitlines()[0]}"
            for larger in sizes[place + 1 :]:
                part.leave_out(f"{larger} students", "memory")
            return
        finally:
            part.save()
        last = time.monotonic() - begin


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Also where the end of a recording raised another error on the way."""
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__context__
    return error is not None
