"""The contract can be broken: `kdgym.testing.check` has to notice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from torch import Tensor

from kdgym.core import SingleEnv, StudentSnapshot
from kdgym.envs.datagen.skill_list import SkillList
from kdgym.tasks import Task, make_task
from kdgym.testing import ContractError, check, check_splits

SMALL: dict[str, Any] = {"steps": 8, "budget": 256.0, "validation_items": 8}
ID = "kdgym-tests/Broken-v0"


class IgnoresSeeds(SkillList):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=0 if seed is not None else None, options=options)


class ForgetsTheMoney(SkillList):
    def restore(self, snapshot: StudentSnapshot, students: int | slice = slice(None)) -> None:
        super().restore(snapshot, students)
        self.state["spent"][:] = 0.0


class CooksTheBooks(SkillList):
    def ledger(self) -> Any:
        books = super().ledger()
        books["data_engine"]["money"] *= 0.5
        return books


class ShadowsAMethod(SkillList):
    def _step_info(self) -> Any:
        return {"items": np.zeros(self.num_envs)}


class TellsNothingAtFirst(SkillList):
    def reset(self, **given: Any) -> Any:
        return super().reset(**given)[0], {}


class SwallowsNaN(SkillList):
    def step(self, actions: Any) -> Any:
        return super().step(np.nan_to_num(actions))


class NeverEnds(SkillList):
    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        self.state["step"].clamp_(max=self.steps - 2)
        reward, terminated = super()._teach(action)
        return reward, terminated & False


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    yield
    gym.registry.pop(ID, None)


def register(population: type[SkillList]) -> None:
    single = type("BrokenEnv", (SingleEnv,), {"population": population})
    gym.register(ID, entry_point=single, vector_entry_point=population)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("population", "message"),
    [
        (IgnoresSeeds, "seed"),
        (ForgetsTheMoney, "restore"),
        (SwallowsNaN, "NaN"),
        (NeverEnds, "terminate"),
    ],
)
def test_broken_environments_are_caught(population: type[SkillList], message: str) -> None:
    register(population)
    with pytest.raises((ContractError, AssertionError), match=message):
        check(ID, **SMALL)


@pytest.mark.parametrize(
    ("population", "message"),
    [(ShadowsAMethod, r"a method of dictionaries; see \['items'\]"), (TellsNothingAtFirst, "other keys at resets")],
)
def test_infos_that_break_other_libraries_are_caught(population: type[SkillList], message: str) -> None:
    register(population)
    with pytest.raises(ContractError, match=message):
        check(ID, **SMALL)


def test_a_ledger_that_does_not_add_up_is_caught() -> None:
    register(CooksTheBooks)
    with pytest.raises(ContractError, match="sum to"):
        check(ID, **{**SMALL, "budget": 2560.0})


def test_other_environments_are_refused() -> None:
    with pytest.raises(ContractError, match=r"not a kdgym\.core\.SingleEnv"):
        check("CartPole-v1")


def test_a_leak_between_splits_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    task: Task = make_task("Math", radix=5)
    honest = task.pool("train")
    monkeypatch.setattr(task, "pool", lambda _: honest)
    with pytest.raises(ContractError, match="is in train and in validation"):
        check_splits(task)


def test_a_verifier_that_refuses_the_solution_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    task: Task = make_task("Math", radix=5)
    monkeypatch.setattr(task, "verify", lambda *_: False)
    with pytest.raises(ContractError, match="refuses the solution"):
        check_splits(task)
