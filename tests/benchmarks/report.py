"""A benchmark in parts, each a process of its own, whose one JSON file is complete after every measurement.

A part that is killed, hangs, or leaves its device unusable ends alone: what it had measured stays in the file, the error stands
beside it, and the next part begins.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from kdgym.storage import write_atomically

RESERVE = 15.0  # seconds a part may go on with the measurement under way after its time is up; then it is killed


class SkippedError(Exception):
    """A part cannot be run here.

    Args:
        why: the reason.
        helps: what to do about it.
    """

    def __init__(self, why: str, helps: str) -> None:
        super().__init__(f"{why}; {helps}")
        self.why, self.helps = why, helps


class Report:
    """A JSON file: ``machine``, and per part ``status``, ``seconds``, ``results``, ``left_out`` and perhaps ``error``.

    Args:
        path: the file; where there is one, it is gone on with.
        redraw: called with the content after every change, to draw its pictures.
    """

    def __init__(self, path: Path, redraw: Callable[[dict[str, Any], Path], object] | None = None) -> None:
        self.path, self._redraw = path, redraw
        self.content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"parts": {}}

    def write(self) -> None:
        """Replace the file, and then the pictures."""
        write_atomically(self.path, (json.dumps(self.content, indent=2) + "\n").encode())
        if self._redraw is not None:
            self._redraw(self.content, self.path)

    def failures(self) -> list[str]:
        """Names of the parts that were neither done nor skipped."""
        return [name for name, part in self.content["parts"].items() if part["status"] not in ("done", "skipped")]


class Part:
    """One part while it is measured.

    Args:
        report: where its results go.
        name: of the part.
        seconds: its time.
    """

    def __init__(self, report: Report, name: str, seconds: float) -> None:
        self._report, self._begin, self._seconds = report, time.monotonic(), seconds
        self.content: dict[str, Any] = {"status": "unfinished", "seconds": 0.0, "results": {}, "left_out": []}
        report.content["parts"][name] = self.content

    @property
    def left(self) -> float:
        """Seconds until the part's time is up; 0 if the process that started the part is gone."""
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            return 0.0
        return self._seconds - (time.monotonic() - self._begin)

    def time_for(self, what: str, seconds: float = 0.0) -> bool:
        """Whether there is time left, at least ``seconds``; if not, ``what`` is entered as left out."""
        if self.left > seconds:
            return True
        self.leave_out(what, "time")
        return False

    def leave_out(self, what: str, why: str) -> None:
        """Enter that something was not measured."""
        self.content["left_out"].append({"what": what, "why": why})
        self.save()

    def keep(self, **results: Any) -> None:
        """Enter results, at once."""
        self.content["results"].update(results)
        self.save()

    def save(self) -> None:
        """Write what there is."""
        self.content["seconds"] = round(time.monotonic() - self._begin, 3)
        self._report.write()

    def run(self, measure: Callable[[Part], None]) -> None:
        """Measure. What goes wrong becomes the part's error."""
        self.save()
        try:
            measure(self)
        except SkippedError as reason:
            self.content |= {"status": "skipped", "skipped": reason.why, "helps": reason.helps}
        except Exception:  # whatever it is, it is written down, and the exit status tells
            self.content |= {"status": "failed", "error": traceback.format_exc()}
        else:
            self.content["status"] = "done"
        self.save()


def run_parts(
    path: Path,
    parts: Mapping[str, Callable[[Part], None]],
    shares: Mapping[str, int],
    total: float,
    redraw: Callable[[dict[str, Any], Path], object] | None = None,
) -> None:
    """Measure all parts, one after the other, each in a forked process, within ``total`` seconds.

    The calling process must not have used the device, which a forked one could not use then.

    Args:
        path: the report's file.
        parts: what is measured, by name.
        shares: of the time that is left, each part gets its share among the parts that are still to come.
        total: seconds.
        redraw: see `Report`.
    """
    end, coming = time.monotonic() + total, sum(shares[name] for name in parts)
    for name, measure in parts.items():
        begin = time.monotonic()
        seconds, coming = max(0.0, end - RESERVE - begin) * shares[name] / coming, coming - shares[name]
        process = get_context("fork").Process(target=_measure, args=(path, name, measure, seconds, redraw))
        process.start()
        process.join(seconds + RESERVE)
        problem = f"The process ended with exit status {process.exitcode} before the part was finished."
        if process.is_alive():
            problem = f"The process was killed after {seconds + RESERVE:.0f} s: a measurement took too long."
            process.kill()
            process.join()
        _close(Report(path), name, problem if process.exitcode else "")


def _measure(
    path: Path,
    name: str,
    measure: Callable[[Part], None],
    seconds: float,
    redraw: Callable[[dict[str, Any], Path], object] | None,
) -> None:
    Part(Report(path, redraw), name, seconds).run(measure)


def _close(report: Report, name: str, problem: str) -> None:
    """Enter a part whose process had a problem."""
    part = report.content["parts"].setdefault(name, {"results": {}, "left_out": []})
    if problem:
        part |= {"status": "failed", "error": part.get("error", problem)}
        report.write()
