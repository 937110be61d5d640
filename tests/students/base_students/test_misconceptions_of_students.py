"""Base students with misconceptions: who has which, how much it shows, and that ordinary students are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdgym.evaluation.statistics import mean_interval
from kdgym.students import TransformerStudents
from kdgym.students.base_students import pool
from kdgym.students.base_students.misconceptions import held_misconceptions, misled_students
from kdgym.students.base_students.pool import POOL_SIZE, POOLS, base_students
from kdgym.tasks import make_task
from kdgym.tasks.examination import fixed_items
from kdgym.tasks.misconceptions import wrong_rules
from tests.tiers import tiered

RECIPE: dict[str, Any] = {"task": "misled"}
CPU = torch.device("cpu")
FOUR = torch.arange(4)


@pytest.fixture(scope="module")
def engine() -> TransformerStudents:
    return TransformerStudents(make_task("Math"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of this test alone, and few students."""
    monkeypatch.setattr(pool, "POOL_SIZE", 4)
    monkeypatch.setattr(pool, "_loaded", {})
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    return tmp_path / "students"


@pytest.mark.parametrize("number", [1, 2, 6])
def test_every_student_has_as_many_as_wanted(engine: TransformerStudents, number: int) -> None:
    held = held_misconceptions(engine.task, "train", number, CPU)
    assert held.shape == (POOL_SIZE, 6)
    assert (held.sum(1) == number).all()


def test_every_misconception_is_about_equally_frequent(engine: TransformerStudents) -> None:
    held = torch.cat([held_misconceptions(engine.task, name, 2, CPU) for name in POOLS])
    assert (held.double().mean(0) - 1 / 3).abs().max() < 0.1  # over three standard errors


def test_the_pools_differ(engine: TransformerStudents) -> None:
    held = [held_misconceptions(engine.task, name, 2, CPU) for name in POOLS]
    assert not torch.equal(*held)


def test_names_are_held_by_everybody(engine: TransformerStudents) -> None:
    held = held_misconceptions(engine.task, "train", ("adds_to_multiply", "drops_carries"), CPU)
    assert held.all(0).tolist() == held.any(0).tolist() == [True, False, False, True, False, False]


def test_who_has_which_does_not_depend_on_the_size_of_the_pool(
    engine: TransformerStudents, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = held_misconceptions(engine.task, "train", 2, CPU)
    monkeypatch.setattr(pool, "POOL_SIZE", 5)
    assert torch.equal(held_misconceptions(engine.task, "train", 2, CPU), everybody[:5])


def test_ordinary_students_stay_as_they_are(engine: TransformerStudents, small: Path) -> None:
    before = base_students(engine, "train", RECIPE, FOUR).clone()
    files = set(small.glob("*.safetensors"))
    contents = {path: path.read_bytes() for path in files}
    misled = misled_students(engine, "train", RECIPE, 2, FOUR)
    assert not torch.equal(misled, before)
    assert torch.equal(base_students(engine, "train", RECIPE, FOUR), before)
    assert {path: path.read_bytes() for path in files} == contents
    assert len(set(small.glob("*.safetensors"))) == 2


def test_other_misconceptions_are_another_file(engine: TransformerStudents, small: Path) -> None:
    for wanted in (1, 2, ("drops_carries",), ("adds_to_multiply",)):
        misled_students(engine, "train", RECIPE, wanted, FOUR)
    assert len(list(small.glob("*.safetensors"))) == 5  # with the ordinary students


def test_they_are_the_same_every_time(
    engine: TransformerStudents, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = misled_students(engine, "train", RECIPE, 2, FOUR).clone()
    for path in small.glob("*.safetensors"):
        path.unlink()
    monkeypatch.setattr(pool, "_loaded", {})
    assert torch.equal(misled_students(engine, "train", RECIPE, 2, FOUR), first)


def test_an_unknown_misconception_is_refused(engine: TransformerStudents) -> None:
    with pytest.raises(ValueError, match="choose from drops_carries, smaller_from_larger"):
        misled_students(engine, "train", RECIPE, ("nothing",), FOUR)


@pytest.mark.slow
@pytest.mark.parametrize("name", tiered(["Math", "VQA", "Code"], ["Math"]))
def test_misconceptions_show_in_those_who_have_them(name: str) -> None:
    """Each of them, against the others of the pool, and against the same students before they were misled."""
    engine = TransformerStudents(make_task(name))
    task, rules = engine.task, wrong_rules(engine.task)
    recipe = {"task": name}
    held = held_misconceptions(task, "train", 2, CPU).numpy()
    problem = fixed_items(task, "validation", 128).expand(POOL_SIZE, -1)

    def expression(weights: torch.Tensor) -> np.ndarray:
        state = torch.zeros(POOL_SIZE, engine.row)
        state[:, : engine.weights] = weights
        wrong, given = rules.wrong[:, problem], engine.decode(state, problem)
        followed = wrong & (given == rules.answer[:, problem]).all(-1)
        return (followed.sum(2) / wrong.sum(2)).T.double().numpy()

    ordinary = expression(base_students(engine, "train", recipe, torch.arange(POOL_SIZE)))
    misled = expression(misled_students(engine, "train", recipe, 2, torch.arange(POOL_SIZE)))
    for m, misconception in enumerate(task.misconceptions):
        mine = held[:, m]
        assert mean_interval((misled - ordinary)[mine, m]).low > 0.05, misconception.name
        assert mean_interval(misled[mine, m]).low > mean_interval(misled[~mine, m]).high + 0.05, misconception.name
