"""The workflows of the repository: they fit GitHub's schema, and run commands that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdgym.cli import app

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_workflows_fit_their_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_may_write_nothing_and_know_no_secrets(file: Path) -> None:
    text = file.read_text()
    assert "permissions:\n  contents: read\n" in text
    assert "secrets." not in text and "pull_request_target" not in text
    assert "persist-credentials: false" in text


def test_they_run_what_there_is() -> None:
    texts = {file.stem: file.read_text() for file in WORKFLOWS}
    assert "run: .ci/run\n" in texts["ci"] and os.access(ROOT / ".ci" / "run", os.X_OK)
    (command,) = re.findall(r"run: kdgym (leaderboard \w+) HEAD FETCH_HEAD\n", texts["verify-submission"])
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
