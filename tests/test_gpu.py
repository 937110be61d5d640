"""What only a GPU can show: lessons of every family there, recorded steps, equal seeds, snapshots, language models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdgym.envs.datagen.skill_list import SkillList
from kdgym.students import Batch
from kdgym.students.language.options import LanguageOptions
from kdgym.students.language.students import LanguageStudents
from kdgym.tasks import make_task
from kdgym.tasks.examination import draw_items
from tests.lessons import COURSE, FAMILIES, make, play, states
from tests.students.language.tiny_model import write_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


class Eager(SkillList):
    """The same environment, whose steps are not recorded."""

    recorded = False


def taught(envs: Any, steps: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (steps, *envs.action_space.shape)).astype(np.float32)
    return [envs.step(action)[0] for action in actions]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_lesson_of_every_family_runs_on_a_gpu(name: str, tmp_path: Path) -> None:
    envs = make(name, "cuda")
    heard = play(envs, tmp_path)
    assert all(state.is_cuda for state in states(envs))
    assert all(np.isfinite(part).all() for part in heard if part.dtype.kind == "f")


def test_a_recorded_step_teaches_what_an_eager_one_does() -> None:
    observations = []
    for envs in (make("skill list", "cuda"), Eager(3, autoreset=False, device="cuda", task="Math", **COURSE)):
        envs.reset(seed=0)
        observations.append(taught(envs, 3))
    for recorded, eager in zip(*observations, strict=True):
        assert recorded.keys() == eager.keys()
        assert recorded["loss"] == pytest.approx(eager["loss"], abs=1e-2)
        assert np.array_equal(recorded["source_spend"], eager["source_spend"])


def test_equal_seeds_make_equal_students() -> None:
    """Weights bit for bit; sums over a source's items are added up in any order, and agree to rounding."""
    first, second = make("skill list", "cuda"), make("skill list", "cuda")
    for envs in (first, second):
        envs.reset(seed=7)
    for one, other in zip(taught(first, 3), taught(second, 3), strict=True):
        assert all(one[key] == pytest.approx(other[key], abs=1e-6) for key in one)
    assert torch.equal(first.state["student"], second.state["student"])


def test_a_restored_population_repeats_its_future() -> None:
    envs = make("skill list", "cuda")
    envs.reset(seed=3)
    taught(envs, 1)
    snapshot = envs.snapshot()
    futures = []
    for _ in range(2):
        envs.restore(snapshot)
        taught(envs, 2, seed=1)
        futures.append(envs.state["student"].clone())
    assert torch.equal(*futures)
    assert not torch.equal(futures[0], snapshot.rows[0][:, : futures[0].shape[1]])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model")))


def lora(model: str, device: str, dtype: torch.dtype = torch.float32) -> tuple[LanguageStudents, torch.Tensor]:
    """Three students after 16 items."""
    engine = LanguageStudents(model, make_task("Math"), LanguageOptions.parse({"rank": 4}), device, dtype)
    key = torch.arange(3, device=device)
    problem, state = draw_items(engine.task, "train", key, 2)[:, :16], engine.initialise(key)
    engine.train(state, Batch(problem, engine.solution[problem], torch.full((3,), 16, device=device)))
    return engine, state


def test_language_models_learn_on_a_gpu_what_they_learn_on_a_cpu(model: str) -> None:
    examined = []
    for device in ("cpu", "cuda"):
        engine, state = lora(model, device)
        problem = draw_items(engine.task, "validation", torch.arange(3, device=device), 1)
        right, loss = engine.evaluate(state, problem)
        examined.append((right.cpu(), loss.cpu()))
    torch.testing.assert_close(examined[0][1], examined[1][1], atol=1e-2, rtol=0)
    assert torch.equal(examined[0][0], examined[1][0])


def test_language_models_in_bfloat16_keep_their_states_in_float32(model: str, tmp_path: Path) -> None:
    engine, state = lora(model, "cuda", torch.bfloat16)
    assert state.dtype == torch.float32
    assert state.is_cuda
    assert state.isfinite().all()
    engine.export(state[1], tmp_path)
    assert torch.equal(engine.load(tmp_path)[: engine.weights], state[1, : engine.weights])
