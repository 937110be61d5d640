"""The tests that only a GPU can run, and how each of them ended."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import torch
from report import Part

TESTS = Path(__file__).parents[1]
MARK = "pytest.mark.gpu"


def measure(part: Part, device: torch.device, quick: bool) -> None:
    """Run them in a process of their own.

    Raises:
        RuntimeError: a test failed, or none was run to its end.
    """
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", f"--junitxml={result}", *files]
        done = subprocess.run(command, cwd=TESTS.parent, timeout=max(1.0, part.left), check=False, capture_output=True)
        output = (done.stdout + done.stderr).decode(errors="replace")
        if not result.is_file():
            raise RuntimeError(
                f"pytest ended with exit status {done.returncode} and without a report:\n{output[-4000:]}"
            )
        cases = [_outcome(case) for case in ElementTree.parse(result).iter("testcase")]
    part.keep(
        tests=cases, **{kind: sum(c["outcome"] == kind for c in cases) for kind in ("passed", "failed", "skipped")}
    )
    if done.returncode:
        raise RuntimeError(f"pytest ended with exit status {done.returncode}:\n{output[-8000:]}")


def _outcome(case: ElementTree.Element) -> dict[str, object]:
    """A test's name, seconds, outcome, and what it says for itself."""
    said = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    ends = [(said[child.tag], child.get("message", "")) for child in case if child.tag in said]
    outcome, message = ends[0] if ends else ("passed", "")
    name = f"{case.get('classname')}::{case.get('name')}"
    return {"test": name, "outcome": outcome, "seconds": float(case.get("time", 0)), "message": message}
