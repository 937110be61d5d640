"""Pools of base students: built once, kept in the cache, rebuilt when the cache is damaged or cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.storage import load_tensors, save_tensors
from kdgym.students import TransformerStudents
from kdgym.students.base_students import pool
from kdgym.students.base_students.pool import POOLS, base_students
from kdgym.tasks import make_task

pytestmark = pytest.mark.slow

SIZE = 4
RECIPE = {"task": "small"}
EVERYBODY = torch.arange(SIZE)


@pytest.fixture(scope="module")
def engine() -> TransformerStudents:
    return TransformerStudents(make_task("Math"))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of this test alone, and few students with little pretraining, so that a pool takes milliseconds."""
    monkeypatch.setattr(pool, "POOL_SIZE", SIZE)
    monkeypatch.setattr(pool, "_LEAST", 16)
    monkeypatch.setattr(pool, "_MOST", 64)
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path / "cache"))
    forget(monkeypatch)
    return tmp_path / "cache"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a new process knows: nothing."""
    monkeypatch.setattr(pool, "_loaded", {})


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> Tensor:
        raise AssertionError("The pool is built again.")

    monkeypatch.setattr(pool, "_build", build)


def files(cache: Path) -> list[Path]:
    return [path for path in (cache / "students").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_pool_holds_the_weights_of_its_students(engine: TransformerStudents) -> None:
    weights = base_students(engine, "train", RECIPE, EVERYBODY)
    assert weights.shape == (SIZE, engine.weights)
    assert weights.dtype == engine.dtype and weights.isfinite().all()


@pytest.mark.parametrize("name", ["test", "Train", ""])
def test_an_unknown_pool_is_refused(engine: TransformerStudents, name: str) -> None:
    with pytest.raises(ValueError, match="choose from train, evaluation"):
        base_students(engine, name, RECIPE, EVERYBODY)


def test_every_base_student_differs(engine: TransformerStudents) -> None:
    everybody = torch.cat([base_students(engine, name, RECIPE, EVERYBODY) for name in POOLS])
    assert (torch.pdist(everybody) > 1).all()


def test_every_base_student_was_taught(engine: TransformerStudents) -> None:
    key = random.fold(torch.tensor(POOLS.index("train")), torch.arange(SIZE))
    before = engine.initialise(random.fold(key, 3))[:, : engine.weights]
    moved = (base_students(engine, "train", RECIPE, EVERYBODY) - before).norm(dim=1)
    assert (moved > 0).all() and (moved < before.norm(dim=1)).all()


def test_pretraining_is_worth_something(engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_LEAST", 1024)
    monkeypatch.setattr(pool, "_MOST", 4096)
    state = torch.zeros(SIZE, engine.row)
    state[:, : engine.weights] = base_students(engine, "evaluation", RECIPE, EVERYBODY)
    validation = torch.arange(len(engine.solution)).view(1, -1)[:, ::13].expand(SIZE, -1)
    pretrained, _ = engine.evaluate(state, validation)
    untrained, _ = engine.evaluate(engine.initialise(torch.arange(SIZE)), validation)
    right = pretrained.double().mean(1)
    assert (right > untrained.double().mean(1) + 0.05).all()
    assert (right < 0.8).all()  # there is something left to teach


def test_a_second_process_reads_the_cache(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    built = base_students(engine, "train", RECIPE, EVERYBODY)
    assert len(files(cache)) == 1
    forget(monkeypatch)
    forbid_building(monkeypatch)
    assert torch.equal(base_students(engine, "train", RECIPE, EVERYBODY), built)


def test_one_process_reads_the_cache_once(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    built = base_students(engine, "train", RECIPE, EVERYBODY)
    forbid_building(monkeypatch)
    for path in files(cache):
        path.unlink()
    assert torch.equal(base_students(engine, "train", RECIPE, EVERYBODY), built)


def test_the_file_says_what_it_holds(engine: TransformerStudents, cache: Path) -> None:
    base_students(engine, "train", RECIPE, EVERYBODY)
    (path,) = files(cache)
    _, header = load_tensors(path)
    assert header["pool"] == "train" and header["size"] == SIZE and header["task"] == "small"
    assert path.name.startswith("math-train-")


def test_another_recipe_is_another_file(engine: TransformerStudents, cache: Path) -> None:
    for recipe in (RECIPE, {"task": "large"}):
        for name in POOLS:
            base_students(engine, name, recipe, EVERYBODY)
    assert len(files(cache)) == 4


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_built_again(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, cache: Path, damage: str
) -> None:
    built = base_students(engine, "train", RECIPE, EVERYBODY)
    (path,) = files(cache)
    content = path.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 4]) + content[-8:]
    path.write_bytes({"flip": flipped, "truncate": content[: len(content) // 2], "empty": b""}[damage])
    forget(monkeypatch)
    with pytest.warns(RuntimeWarning, match="built again"):
        again = base_students(engine, "train", RECIPE, EVERYBODY)
    assert torch.equal(again, built)
    assert torch.equal(load_tensors(path)[0]["weights"], built)


FORGED: dict[str, Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], Any]]] = {
    "no tensors": lambda t, h: ({}, h),
    "another name": lambda t, h: ({"w": t["weights"]}, h),
    "a tensor more": lambda t, h: ({**t, "w": t["weights"].clone()}, h),
    "fewer students": lambda t, h: ({"weights": t["weights"][:-1]}, h),
    "narrower": lambda t, h: ({"weights": t["weights"][:, :-1]}, h),
    "flat": lambda t, h: ({"weights": t["weights"].flatten()}, h),
    "another type": lambda t, h: ({"weights": t["weights"].double()}, h),
    "NaN": lambda t, h: ({"weights": t["weights"] * float("nan")}, h),
    "infinity": lambda t, h: ({"weights": t["weights"] + float("inf")}, h),
    "another recipe": lambda t, h: (t, {**h, "task": "large"}),
    "no recipe": lambda t, h: (t, {}),
    "a list": lambda t, h: (t, [h]),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_sound_file_of_something_else_is_built_again(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, cache: Path, forgery: str
) -> None:
    built = base_students(engine, "train", RECIPE, EVERYBODY)
    (path,) = files(cache)
    save_tensors(path, *FORGED[forgery](*load_tensors(path)))
    forget(monkeypatch)
    with pytest.warns(RuntimeWarning, match="built again"):
        again = base_students(engine, "train", RECIPE, EVERYBODY)
    assert torch.equal(again, built)
    assert torch.equal(load_tensors(path)[0]["weights"], built)


def test_a_healthy_cache_gives_no_warning(engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base_students(engine, "train", RECIPE, EVERYBODY)
        forget(monkeypatch)
        base_students(engine, "train", RECIPE, EVERYBODY)


def test_without_a_usable_cache_students_are_built_all_the_same(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = base_students(engine, "train", RECIPE, EVERYBODY)
    (tmp_path / "file").write_text("This is not a directory.")
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path / "file" / "cache"))
    forget(monkeypatch)
    with pytest.warns(RuntimeWarning, match="KDGYM_CACHE"):
        assert torch.equal(base_students(engine, "train", RECIPE, EVERYBODY), built)


def test_a_full_disk_is_no_obstacle(engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        weights = base_students(engine, "train", RECIPE, EVERYBODY)
    assert weights.shape == (SIZE, engine.weights)
    assert files(cache) == []


def test_building_uses_one_thread_and_then_as_many_as_before(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, train = [], engine.train

    def watched(*args: Tensor) -> Tensor:
        threads.append(torch.get_num_threads())
        return train(*args)

    monkeypatch.setattr(engine, "train", watched)
    torch.set_num_threads(2)
    try:
        base_students(engine, "train", RECIPE, EVERYBODY)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(threads) == {1}


def test_building_leaves_the_global_generator_alone(engine: TransformerStudents) -> None:
    before = torch.get_rng_state()
    base_students(engine, "train", RECIPE, EVERYBODY)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_base_student_does_not_depend_on_the_size_of_its_pool(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = base_students(engine, "train", RECIPE, EVERYBODY)
    monkeypatch.setattr(pool, "POOL_SIZE", SIZE + 3)
    assert torch.equal(base_students(engine, "train", RECIPE, torch.arange(SIZE + 3))[:SIZE], few)


def test_only_who_is_needed_is_pretrained_and_learns_the_same(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    everybody = base_students(engine, "train", RECIPE, EVERYBODY)
    for path in files(cache):
        path.unlink()
    forget(monkeypatch)
    monkeypatch.setattr(pool, "_COHORT", 1)
    wanted = torch.tensor([3, 0, 3])
    assert torch.equal(base_students(engine, "train", RECIPE, wanted), everybody[wanted])
    assert sorted(path.stem[-2:] for path in files(cache)) == ["-0", "-3"]


# One of two processes that start at the same moment: says whether it built the pool, and what it got.
PROCESS = """
import hashlib, sys, time
from pathlib import Path
import torch
from kdgym.students import TransformerStudents
from kdgym.students.base_students import pool
from kdgym.tasks import make_task

meeting, me = Path(sys.argv[1]), sys.argv[2]
pool.POOL_SIZE, pool._LEAST, pool._MOST = 4, 16, 64
built, build = [], pool._build

def slowly(*args):
    built.append(True)
    time.sleep(0.5)  # the other process comes meanwhile
    return build(*args)

pool._build = slowly
torch.set_num_threads(1)
engine = TransformerStudents(make_task("Math"))
(meeting / me).touch()
while len(list(meeting.iterdir())) < 2:
    time.sleep(0.01)
weights = pool.base_students(engine, "train", {"task": "small"}, torch.arange(4))
print(len(built), hashlib.sha256(weights.numpy().tobytes()).hexdigest())
"""


@pytest.mark.thorough
def test_two_processes_build_a_pool_once(tmp_path: Path, cache: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", PROCESS, str(meeting), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    try:
        output = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    built, weights = zip(*(text.split()[-2:] for text in output), strict=True)
    assert sorted(built) == ["0", "1"]
    assert weights[0] == weights[1]
    assert len(files(cache)) == 1
