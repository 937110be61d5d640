"""The items of reasoning-gym on disk: made once, made again when damaged, the same in every process."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdgym.tasks.reasoning.task import Reasoning

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own with one pool in it."""
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    Reasoning(["gcd"], items=64)
    (path,) = tmp_path.glob("reasoning/gcd-*.safetensors")
    return path


def test_items_are_made_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("items are made again")

    monkeypatch.setattr(subprocess, "Popen", started)
    assert Reasoning(["gcd"], items=64).text(0)
    with pytest.raises(AssertionError, match="made again"):
        Reasoning(["gcd"], items=65)
    with pytest.raises(AssertionError, match="made again"):
        Reasoning({"gcd": {}}, items=64)
    assert fresh.is_file()


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: content[:-1] + b"?"])
def test_a_damaged_pool_is_reported_and_made_again(fresh: Path, damage: Callable[[bytes], bytes]) -> None:
    fresh.write_bytes(damage(fresh.read_bytes()))
    with pytest.warns(RuntimeWarning, match="items of gcd are built again"):
        task = Reasoning(["gcd"], items=64)
    assert task.verify(0, task.answer_text(int(task.solution[0])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Reasoning(["gcd"], items=64)


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning, match="Set KDGYM_CACHE"):
        assert len(Reasoning(["gcd"], items=64).solution) == 64


def test_a_maker_that_dies_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="items of gcd died"):
        Reasoning(["gcd"], items=64)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ImportError, match=r"pip install 'kdgym\[envs\]'"):
        Reasoning(["gcd"])


DIGEST = """
import hashlib
from kdgym.tasks.reasoning.task import Reasoning
task = Reasoning(["isomorphic_strings", "gcd"], items=256)  # the first depends on the hash seed
texts = [task.text(problem) for problem in range(len(task.solution))]
print(hashlib.sha256(repr((texts, task.solution.tolist(), task.prompt.tolist())).encode()).hexdigest())
"""


@pytest.mark.thorough
def test_a_task_is_the_same_in_every_process(tmp_path: Path) -> None:
    found = set()
    for seed in "17":
        environment = {"KDGYM_CACHE": str(tmp_path / seed), "PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True, env=environment
        )
        found |= set(done.stdout.split())
    assert len(found) == 1
