"""The compiled kernel: the reference's numbers, on every shape it takes, and clear words where it cannot be had."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.students import Batch, TransformerConfig, TransformerStudents
from kdgym.students.tiny import kernel
from kdgym.students.tiny.kernel import KernelUnavailableError
from kdgym.tasks import TASKS, TEXT_ONLY, Task, make_task

pytestmark = pytest.mark.slow

TINY = [name for name in TASKS if name not in TEXT_ONLY]

SHAPES = [
    TransformerConfig(),
    TransformerConfig(layers=2),
    TransformerConfig(layers=3, heads=2, feed_forward=2, batch=5),
    TransformerConfig(width=64, heads=4),
    TransformerConfig(width=16, heads=1, feed_forward=1, batch=1),
    TransformerConfig(width=48, heads=2, batch=7),
]

# The usual sizes on every task, others where there are numbers and where there are images.
CASES = [(SHAPES[0], name) for name in TINY] + [
    pytest.param(shape, name, marks=() if shape is SHAPES[2] else pytest.mark.thorough)
    for shape in SHAPES[1:]
    for name in ("Math", "VQA")
]


def both(config: TransformerConfig, task: Task | None = None) -> tuple[TransformerStudents, TransformerStudents]:
    task = task or make_task("Math")
    return TransformerStudents(task, config, engine="torch"), TransformerStudents(task, config, engine="kernel")


def lesson(engine: TransformerStudents, key: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Problems and answers, some of them wrong."""
    problem = random.integers(random.fold(key, 1), n, len(engine.tables.prompts))
    answer = random.integers(random.fold(key, 2), n, len(engine.tables.answers))
    return problem, torch.where(answer % 3 == 0, answer, engine.solution[problem])


def forget() -> None:
    """Nothing compiled in this process yet, and the kernel without a name."""
    kernel._library.cache_clear()
    kernel.fingerprint.cache_clear()


@pytest.fixture
def fresh() -> Iterator[None]:
    """As in a new process."""
    forget()
    yield
    forget()


# --- the reference's numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "name"), CASES, ids=str)
def test_an_examination_is_the_references(config: TransformerConfig, name: str) -> None:
    reference, fast = both(config, make_task(name))
    key = torch.arange(3)
    state, problem = reference.initialise(key), random.integers(key, 100, len(reference.tables.prompts))
    (right, loss), (fast_right, fast_loss) = (engine.evaluate(state, problem) for engine in (reference, fast))
    torch.testing.assert_close(fast_loss, loss, rtol=0, atol=1e-5)
    assert (right != fast_right).sum() <= 1  # two answers may be equally likely to the last bit
    given, fast_given = (engine.decode(state, problem) for engine in (reference, fast))
    assert (given != fast_given).any(-1).sum() <= 1


@pytest.mark.parametrize(("config", "name"), CASES, ids=str)
def test_an_answer_goes_on_where_it_was_begun(config: TransformerConfig, name: str) -> None:
    """From any of the answer's places on, and also after tokens that the student would not have said."""
    engines = both(config, make_task(name))
    key = torch.arange(3)
    state, problem = engines[0].initialise(key), random.integers(key, 100, len(engines[0].tables.prompts))
    places = engines[0].tables.answers.shape[1]
    known = random.integers(random.fold(key, 1), 100, places + 1)
    strange = random.integers(random.fold(key, 2), 100 * places, engines[0].task.vocabulary).view(3, 100, places)
    kept = torch.arange(places) < known.unsqueeze(-1)
    answers = []
    for engine in engines:
        unaided = engine.decode(state, problem)
        assert torch.equal(engine._decode(state, problem, torch.where(kept, unaided, strange), known), unaided)
        answers.append(engine._decode(state, problem, strange, known))
        assert torch.equal(answers[-1][kept], strange[kept])
    assert (answers[0] != answers[1]).any(-1).sum() <= 1


@pytest.mark.parametrize(("config", "name"), CASES, ids=str)
def test_updates_are_those_of_the_reference_in_double_precision(config: TransformerConfig, name: str) -> None:
    """One batch: every weight and moment. Three: where a rectifier's input is next to nothing, rounding takes its side.

    Single precision is no judge here: the torch engine in float32 strays up to a thousand times as far as the kernel does.
    """
    task = make_task(name)
    reference = TransformerStudents(task, config, engine="torch", dtype=torch.float64)
    fast = TransformerStudents(task, config, engine="kernel")
    key, room = torch.arange(4), 3 * config.batch
    start = fast.initialise(key)
    problem, answer = lesson(fast, key, room)

    def distance(count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        exact, state = start.double(), start.clone()
        losses = [engine.train(s, Batch(problem, answer, count)) for engine, s in ((reference, exact), (fast, state))]
        apart = (state - exact).abs()
        return (losses[1] - losses[0]).abs(), apart[:, : fast.weights], apart[:, fast.weights :]

    losses, weights, moments = distance(torch.tensor([config.batch, config.batch, config.batch // 2, 0]))
    assert losses.max() < 1e-5
    assert moments.max() < 1e-6
    # AdamW divides by the gradient's size, also where there is hardly any.
    assert (weights > 1e-4).double().mean() < 1e-4
    assert weights.max() < config.learning_rate
    losses, weights, moments = distance(torch.tensor([room, 2 * config.batch, room - config.batch // 2, 0]))
    assert losses.max() < 1e-3
    assert moments.max() < 1e-3
    assert (weights > 1e-4).double().mean() < 1e-2


@pytest.mark.parametrize(("weighted", "soft"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize(("config", "name"), [(SHAPES[0], "Math"), (SHAPES[2], "VQA")], ids=str)
def test_weights_and_soft_targets_are_the_references(
    config: TransformerConfig, name: str, weighted: bool, soft: bool
) -> None:
    reference = TransformerStudents(make_task(name), config, engine="torch", dtype=torch.float64)
    fast = TransformerStudents(make_task(name), config, engine="kernel")
    key, n = torch.arange(3), config.batch
    size, count = (3, n, fast.answer_width, fast.task.vocabulary), torch.tensor([n, n - 2, 1])
    weight = 2 * random.uniform(random.fold(key, 3), n).float() if weighted else None
    logits = 5 * random.uniform(random.fold(key, 4), n * size[2] * size[3]).view(size)
    batch = Batch(*lesson(fast, key, n), count, weight, torch.softmax(logits, -1).float() if soft else None)
    start = fast.initialise(key)
    exact, state = start.double(), start.clone()
    losses = [engine.train(s, batch) for engine, s in ((reference, exact), (fast, state))]
    torch.testing.assert_close(losses[1].double(), losses[0], rtol=0, atol=1e-5)
    apart = (state - exact).abs()
    assert apart[:, fast.weights :].max() < 1e-6
    assert (apart[:, : fast.weights] > 1e-4).double().mean() < 1e-4


def test_both_engines_learn_the_same() -> None:
    """64 pairs of students, 4,096 items: the same accuracy curves, although rounding parts their ways."""
    engines = both(TransformerConfig())
    task = engines[0].task
    key = random.fold(torch.tensor(5), torch.arange(64))
    states = [engine.initialise(key) for engine in engines]
    pool, exam = task.pool("train"), task.pool("validation")
    questions = (exam.start[:, None] + torch.arange(64) % exam.count[:, None]).flatten().expand(64, -1)
    differences = []
    for step in range(8):
        skill = random.integers(random.fold(key, 1, step), 512, len(task.skills))
        problem = pool.start[skill] + random.integers(random.fold(key, 2, step), 512, pool.count[skill])
        scores = []
        for engine, state in zip(engines, states, strict=True):
            engine.train(state, Batch(problem, engine.solution[problem], torch.full((64,), 512)))
            scores.append(engine.evaluate(state, questions)[0].double().mean(1))
        differences.append((scores[1] - scores[0]).mean().item())
    assert scores[0].mean() > 0.2
    assert max(map(abs, differences)) < 0.005


# --- one student alone -------------------------------------------------------------------------------------------


def test_threads_change_nothing() -> None:
    _, engine = both(TransformerConfig())
    key, count = torch.arange(9), torch.arange(9) * 10
    problem, answer = lesson(engine, key, 80)
    results = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        state = engine.initialise(key)
        losses = engine.train(state, Batch(problem, answer, count))
        results.append([state, losses, *engine.evaluate(state, problem)])
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_rows_may_lie_in_a_larger_table() -> None:
    _, engine = both(TransformerConfig())
    key = torch.arange(3)
    table = torch.full((3, engine.row + 50), 7.0)
    table[:, 20 : 20 + engine.row] = alone = engine.initialise(key)
    problem, answer = lesson(engine, key, 40)
    count = torch.full((3,), 40)
    engine.train(table[:, 20 : 20 + engine.row], Batch(problem, answer, count))
    engine.train(alone, Batch(problem, answer, count))
    assert torch.equal(table[:, 20 : 20 + engine.row], alone)
    assert (table[:, :20] == 7).all() and (table[:, 20 + engine.row :] == 7).all()


def test_a_student_that_is_not_a_number_is_never_right() -> None:
    for engine in both(TransformerConfig()):
        state = engine.initialise(torch.arange(2))
        state[0, : engine.weights] = float("nan")
        right, loss = engine.evaluate(state, torch.zeros(2, 20, dtype=torch.int64))
        assert loss[0].isnan().all() and not right[0].any()
        assert loss[1].isfinite().all()


@pytest.mark.parametrize("bad", [-1, 10**9])
def test_an_id_that_is_no_problem_or_answer_is_refused_and_nobody_is_changed(bad: int) -> None:
    _, engine = both(TransformerConfig())
    state = engine.initialise(torch.arange(1))
    before, fine, wrong = state.clone(), torch.zeros(1, 3, dtype=torch.int64), torch.full((1, 3), bad)
    for problem, answer in ((wrong, fine), (fine, wrong)):
        with pytest.raises(IndexError, match=str(bad)):
            engine.train(state, Batch(problem, answer, torch.tensor([3])))
    with pytest.raises(IndexError):
        engine.evaluate(state, wrong)
    assert torch.equal(state, before)


# --- where it can be had -----------------------------------------------------------------------------------------


def test_automatic_is_the_kernel_where_there_is_a_compiler() -> None:
    assert TransformerStudents(make_task("Math")).engine == "kernel"
    assert TransformerStudents(make_task("Math"), dtype=torch.float64).engine == "torch"
    assert TransformerStudents(make_task("Math"), device="meta").engine == "torch"


def test_sizes_that_do_not_suit_are_named() -> None:
    with pytest.raises(KernelUnavailableError, match=r"multiples of 16; got 24, 96 and 12"):
        TransformerStudents(make_task("Math"), TransformerConfig(width=24), engine="kernel")
    with pytest.raises(KernelUnavailableError, match=r"float32 on the CPU, not torch\.float64 on cpu"):
        TransformerStudents(make_task("Math"), dtype=torch.float64, engine="kernel")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("compiler", "message"),
    [
        ("no-such-compiler", r"'no-such-compiler' does not exist; correct \$CC"),
        ("false", "The C compiler failed: false"),
        (None, "No C compiler was found"),
    ],
)
def test_without_a_compiler_the_reference_takes_over_and_says_so(
    compiler: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler or "")
    if compiler is None:
        monkeypatch.setenv("PATH", "/nowhere")
    with pytest.warns(RuntimeWarning, match=message):
        assert TransformerStudents(make_task("Math")).engine == "torch"
    with pytest.raises(KernelUnavailableError, match=message):
        TransformerStudents(make_task("Math"), engine="kernel")


@pytest.mark.thorough
@pytest.mark.usefixtures("fresh")
def test_it_is_compiled_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    TransformerStudents(make_task("Math"), engine="kernel")
    (library,) = (tmp_path / "kernels").glob("*.so")
    before = library.stat().st_ino
    kernel._library.cache_clear()
    TransformerStudents(make_task("Math"), engine="kernel")
    assert library.stat().st_ino == before
    TransformerStudents(make_task("Math"), TransformerConfig(layers=2), engine="kernel")
    assert len(list((tmp_path / "kernels").glob("*.so"))) == 2


@pytest.mark.thorough
@pytest.mark.usefixtures("fresh")
def test_a_damaged_or_missing_cache_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    TransformerStudents(make_task("Math"), engine="kernel")
    (library,) = (tmp_path / "kernels").glob("*.so")
    library.unlink()
    library.write_bytes(b"not a library")
    kernel._library.cache_clear()
    assert TransformerStudents(make_task("Math"), engine="kernel").engine == "kernel"
    kernel._library.cache_clear()
    shutil.rmtree(tmp_path)
    tmp_path.write_text("a file where the folder should be")
    assert TransformerStudents(make_task("Math"), engine="kernel").engine == "kernel"


# --- its name ----------------------------------------------------------------------------------------------------


def test_a_comment_in_the_source_leaves_the_fingerprint(
    fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kernel.fingerprint()
    assert re.fullmatch("[0-9a-f]{8}", before)
    for source in kernel._SOURCES:
        (tmp_path / source.name).write_text(f"/* A comment. */\n{source.read_text()}")
    monkeypatch.setattr(kernel, "_SOURCES", [tmp_path / source.name for source in kernel._SOURCES])
    forget()
    assert kernel.fingerprint() == before


def test_other_rounding_has_another_fingerprint(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernel.fingerprint()
    monkeypatch.setenv("CC", "cc -ffp-contract=off")
    forget()
    assert kernel.fingerprint() not in (before, "none")


def test_without_a_compiler_there_is_no_fingerprint(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    forget()
    assert kernel.fingerprint() == "none"
