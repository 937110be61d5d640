"""Every family on a device that is not the host's: nothing is mixed, and every number is the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Base students of the others take torch operations minutes to pretrain.
NAMES = ("skill list", "misconceptions", "programs", "open-ended", "skill tree", "classroom", "snapshot")


@pytest.mark.thorough
def test_lessons_on_another_device_are_those_on_the_cpu() -> None:
    """In a process of its own, since torch takes such a device for an accelerator of the whole process."""
    command = [sys.executable, "-m", "tests.far_device", *NAMES]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{name}: equal" for name in NAMES], done.stderr[-3000:]
    assert done.returncode == 0
