"""Where a language model comes from: a directory, or the hub's cache; what is no student is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdgym.students import make_students
from kdgym.students.language.students import LanguageStudents
from kdgym.tasks import make_task
from tests.students.language.tiny_model import write_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


OFFLINE = """
import sys, torch
from kdgym.students import make_students
from kdgym.tasks import make_task
students = make_students("hf:somebody/tiny", make_task("Math"), "cpu", options={"rank": 2})
print(students.evaluate(students.initialise(torch.arange(1)), torch.arange(2)[None])[1].tolist())
try:
    make_students("hf:somebody/else", make_task("Math"), "cpu")
except ValueError as error:
    print(error)
"""


@pytest.mark.thorough
def test_offline_hub_ids_come_from_the_hubs_cache_alone(model: Path, tmp_path: Path) -> None:
    place = tmp_path / "models--somebody--tiny"
    shutil.copytree(model, place / "snapshots" / "0123abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123abc")
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OFFLINE], check=True, capture_output=True, text=True, env=offline)
    losses, error = done.stdout.splitlines()
    students = make_students(f"hf:{model}", make_task("Math"), "cpu", options={"rank": 2})
    expected = students.evaluate(students.initialise(torch.arange(1)), torch.arange(2)[None])[1]
    torch.testing.assert_close(torch.tensor(json.loads(losses)), expected)
    assert "somebody/else' cannot be loaded" in error


def test_models_without_a_chat_template_are_refused(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="chat template"):
        LanguageStudents(str(tmp_path), make_task("Math"))
