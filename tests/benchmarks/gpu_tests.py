"""The tests that only a GPU can run, and how each of them ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from report import Part

TESTS = Path(__file__).parents[1]
MARK = "pytest.mark.gpu"


class Outcomes:
    """A pytest plugin that enters every test's outcome as soon as it is known, and stops when the time is up."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self.tests: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test is over after its call, or before it where it is skipped or its preparation fails."""
        if report.when == "call" or not report.passed:
            entry = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 3)}
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            self.tests.append(entry | ({"reason": reason} if reason else {}))
            self._part.keep(tests=self.tests)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Runs before every test."""
        if not self._part.time_for(item.nodeid):
            pytest.skip("no time left")


def measure(part: Part, device: torch.device, quick: bool) -> None:
    """Run them.

    Raises:
        RuntimeError: a test failed, or there is none.
    """
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text()]
    outcomes = Outcomes(part)
    options = ["-m", "gpu", "-q", "-p", "no:cacheprovider", "--rootdir", str(TESTS.parent), "-o", "pythonpath=."]
    status = pytest.main([*options, *files], plugins=[outcomes])
    if status != pytest.ExitCode.OK:
        failed = [test["test"] for test in outcomes.tests if test["outcome"] == "failed"]
        raise RuntimeError(f"pytest ended with {status!r}; failed: {', '.join(failed) or 'none'}.")
