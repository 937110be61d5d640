"""Sampling with a cache against the forward pass it caches, and updates against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.students import Batch, TransformerConfig, TransformerStudents
from kdgym.students.practice import attempt
from kdgym.tasks import make_task
from kdgym.tasks.scratchpad import Scratchpad

pytestmark = pytest.mark.slow

STUDENTS, GROUP = 3, 4


@pytest.fixture(scope="module")
def task() -> Scratchpad:
    made = make_task("Scratchpad", radix=6)
    assert isinstance(made, Scratchpad)
    return made


def reasoners(task: Scratchpad, layers: int = 1) -> TransformerStudents:
    return TransformerStudents(task, TransformerConfig(layers=layers), dtype=torch.float64, engine="torch")


def problems(task: Scratchpad) -> Tensor:
    return task.pool("train").start[:5].expand(STUDENTS, -1) + torch.arange(STUDENTS).unsqueeze(1)


def chance(rows: int, key: int = 0) -> Tensor:
    return random.uniform(torch.arange(STUDENTS) + key, rows * 16).view(STUDENTS, rows, 16)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_cache_changes_nothing(task: Scratchpad, layers: int) -> None:
    students = reasoners(task, layers)
    state = students.initialise(torch.arange(STUDENTS))
    tokens, log_p = students.sample(state, problems(task), chance(5 * GROUP))
    each = problems(task).repeat_interleave(GROUP, dim=1)
    torch.testing.assert_close(students.log_p(state, each, tokens), log_p)


def test_samples_follow_the_students_probabilities(task: Scratchpad) -> None:
    students = reasoners(task)
    state = students.initialise(torch.arange(STUDENTS))
    one = problems(task)[:, :1]
    n = 4000
    tokens, _ = students.sample(state, one, chance(n))
    for token in range(task.vocabulary):
        probability = students.log_p(state, one, torch.full((STUDENTS, 1, 16), token)).exp()[:, 0, 0]
        share = (tokens[:, :, 0] == token).double().mean(1)
        assert ((share - probability).abs() < 4 * (probability * (1 - probability) / n).sqrt() + 1e-3).all()


def test_what_a_student_samples_is_its_own_affair(task: Scratchpad) -> None:
    students = TransformerStudents(task)
    state = students.initialise(torch.arange(40))
    problem = task.pool("train").start.expand(40, -1)
    uniform = random.uniform(torch.arange(40), 6 * 16).view(40, 6, 16)
    together, _ = students.sample(state, problem, uniform)
    alone, _ = students.sample(state[33:34], problem[33:34], uniform[33:34])
    assert together[33:34].equal(alone)


def test_greedy_answers_are_those_of_the_whole_forward_pass(task: Scratchpad) -> None:
    students = reasoners(task)
    state, problem = students.initialise(torch.arange(STUDENTS)), problems(task)
    said = torch.zeros(*problem.shape, 16, dtype=torch.int64)
    for a in range(16):
        inputs = torch.cat([task.prompt[problem], said[..., :-1]], dim=-1)
        said[:, :, a] = students.network.logits(state, inputs).argmax(-1)[:, :, a]
    assert students.decode(state, problem).equal(said)


def test_long_answers_are_those_of_the_kernel(task: Scratchpad) -> None:
    """Which reads everything anew for each token, and so is asked for short ones alone."""
    students = TransformerStudents(task, engine="kernel")
    state, problem = students.initialise(torch.arange(STUDENTS)), problems(task)
    begun, known = task.answer[problem], torch.tensor([[0, 5, 16, 3, 7]]).expand(STUDENTS, -1)
    assert students._kernel is not None
    expected = students._kernel.decode(state, students.tables, problem, begun, known)
    assert students._decode(state, problem, begun, known).equal(expected)


def test_examinations_agree_with_those_of_the_same_students(task: Scratchpad) -> None:
    """Half-pretrained students, some of whose answers are the listed ones, in both engines."""
    plain, students = (TransformerStudents(task, engine=engine) for engine in ("torch", "kernel"))
    state = plain.initialise(torch.arange(STUDENTS))
    ids = random.integers(torch.arange(STUDENTS), 8192, 300)
    plain.train(state, Batch(ids, task.solution[ids], torch.full((STUDENTS,), 8192)))
    asked = torch.arange(0, 300, 5).expand(STUDENTS, -1)
    right, loss = students.evaluate(state, asked)
    assert 0.1 < right.float().mean() < 0.99
    expected = plain.evaluate(state, asked)
    assert right.equal(expected[0])
    torch.testing.assert_close(loss, expected[1], rtol=1e-4, atol=1e-4)


def test_students_resume_where_they_were_told_to(task: Scratchpad) -> None:
    students = reasoners(task)
    state = students.initialise(torch.arange(STUDENTS))
    problem = problems(task)
    begun = task.answer[problem]
    given = torch.tensor([[0, 5, 16, 3, 7]]).expand(STUDENTS, -1)
    chosen = torch.tensor([[True, True, True, False, False], [False, False, True, True, True], [False] * 5])
    tokens, log_p = students.resume(state, problem, chance(5), begun, given, chosen)
    stands = (torch.arange(16) < given.unsqueeze(2)) & chosen.unsqueeze(2)
    assert tokens[stands].equal(begun[stands])
    assert not tokens[chosen].equal(begun[chosen])
    torch.testing.assert_close(log_p[chosen], students.log_p(state, problem, tokens)[chosen])


def test_an_update_follows_the_gradient_of_any_loss(task: Scratchpad) -> None:
    students = reasoners(task, layers=2)
    state = students.initialise(torch.arange(STUDENTS))
    tokens, _ = students.sample(state, problems(task), chance(5))

    def loss(log_p: Tensor, _: slice = slice(None)) -> Tensor:
        return (log_p.exp() ** 2).sum((1, 2)) - log_p[:, 0].sum(1)

    weights = state[:, : students.weights].clone().requires_grad_()
    logits = students.network.logits(weights, torch.cat([task.prompt[problems(task)], tokens[..., :-1]], dim=-1))
    log_p = torch.log_softmax(logits, dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    (expected,) = torch.autograd.grad(loss(log_p).sum(), weights)
    stepped, optimiser = state.clone(), TransformerConfig(learning_rate=1e-3)
    students.step(stepped, expected.clone(), torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64), optimiser)
    students.update(state, problems(task), tokens, loss, torch.tensor([True, False, True]), 1e-3)
    torch.testing.assert_close(state, stepped, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_kernel_samples_what_the_reference_samples(task: Scratchpad, layers: int) -> None:
    """But for a token in thousands whose random number lies between two probabilities that differ by rounding."""
    students = reasoners(task, layers)
    kernel = TransformerStudents(task, students.config, engine="kernel")
    state = students.initialise(torch.arange(STUDENTS))
    begun = random.integers(torch.arange(STUDENTS), 20 * 16, task.vocabulary).view(STUDENTS, 20, 16)
    count = random.integers(torch.arange(STUDENTS) + 5, 20, 17)
    for given in ((), (begun, count)):
        expected = students.sample(state, problems(task), chance(20), *given)
        found = kernel.sample(state.float(), problems(task), chance(20), *given)
        same = (expected[0] == found[0]).all(2)
        assert same.double().mean() > 0.95
        torch.testing.assert_close(found[1][same].double(), expected[1][same], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_kernels_gradient_is_that_of_the_reference(task: Scratchpad, layers: int) -> None:
    """Also of tokens that are next to impossible, and where attempts without slope are left out."""
    students = reasoners(task, layers)
    kernel = TransformerStudents(task, students.config, engine="kernel")
    state = students.initialise(torch.arange(STUDENTS))
    state[1, : students.weights] *= 30
    tokens = random.integers(torch.arange(STUDENTS), 20 * 16, task.vocabulary).view(STUDENTS, 20, 16)
    problem = random.integers(torch.arange(STUDENTS), 20, 1000)
    expected, found = (one.log_p(state.to(one.dtype), problem, tokens) for one in (students, kernel))
    assert expected.min() < -100
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    state[1, : students.weights] /= 30
    slope = random.uniform(torch.arange(STUDENTS), 20 * 16).view(STUDENTS, 20, 16) - 0.5
    slope[:, ::3], slope[2] = 0, 0
    each = (problem, tokens, lambda log_p, part: (log_p * slope[part]).sum((1, 2)))
    expected = students._gradient(state, *each, slice(None))
    single = state.float()
    found = kernel._kernel.gradient(single, kernel.weights, kernel.tables, problem, tokens, slope.float())
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)
    assert found[2].eq(0).all()


def test_threads_share_students_and_change_nothing(task: Scratchpad) -> None:
    students, before = TransformerStudents(task), torch.get_num_threads()
    state, key = students.initialise(torch.arange(20)), torch.arange(20)
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            tried = attempt(students, state, key, GROUP)
            assert torch.get_num_threads() == threads
            after, everybody = state.clone(), torch.ones(20, dtype=torch.bool)
            students.update(after, tried.problem, tried.tokens, lambda log_p, _: log_p.sum((1, 2)), everybody, 1e-3)
            results.append((tried.tokens, after))
    finally:
        torch.set_num_threads(before)
    assert results[0][0].equal(results[1][0])
    assert results[0][1].equal(results[1][1])


def test_everybody_tries_every_skill_in_an_order_of_its_own(task: Scratchpad) -> None:
    students = TransformerStudents(task)
    tried = attempt(students, students.initialise(torch.arange(30)), torch.arange(30), GROUP)
    skill = task.skill_of[tried.problem].view(30, 6, GROUP)
    assert (skill == skill[:, :, :1]).all()
    assert skill[:, :, 0].sort(dim=1).values.equal(torch.arange(6).expand(30, -1))
    assert len(skill[:, :, 0].unique(dim=0)) > 20
    assert (students.written(tried.tokens).sum(2) == task.length(tried.tokens)).all()
