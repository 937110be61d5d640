"""What teachers say to attempts, and to whom."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdgym.tasks import make_task
from kdgym.tasks.feedback import KINDS, WHICH, GivenFeedback, choose_attempts, give_feedback
from kdgym.tasks.scratchpad import STEP, Scratchpad

MARK, NEXT, PREFIX, FULL = range(len(KINDS))


@pytest.fixture(scope="module")
def task() -> Scratchpad:
    made = make_task("Scratchpad", radix=6)
    assert isinstance(made, Scratchpad)
    return made


def three_steps(task: Scratchpad) -> int:
    return int(task.pool("train").start[5])


def say(task: Scratchpad, tokens: Tensor, kind: int, length: int = 1, right: bool = False) -> GivenFeedback:
    problem = torch.tensor([[three_steps(task)]])
    return give_feedback(
        task, problem, tokens.view(1, 1, -1), torch.tensor([[right]]), torch.tensor([kind]), torch.tensor([length])
    )


def wrong_in_step(task: Scratchpad, step: int) -> Tensor:
    tokens = task.answer[three_steps(task)].clone()
    tokens[STEP * step + 3] = (tokens[STEP * step + 3] + 1) % task.radix
    return tokens


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_mark_is_one_token_before_the_first_wrong_step(task: Scratchpad, step: int) -> None:
    attempt = wrong_in_step(task, step)
    said = say(task, attempt, MARK)
    assert (int(said.own), int(said.given)) == (STEP * step, STEP * step + 1)
    assert int(said.tokens[0, 0, STEP * step]) == task.mark
    assert said.tokens[0, 0, : STEP * step].equal(attempt[: STEP * step])


@pytest.mark.parametrize(("step", "length", "end"), [(0, 1, 5), (0, 2, 10), (1, 1, 10), (1, 99, 15), (2, 3, 15)])
def test_the_next_steps_replace_the_wrong_one(task: Scratchpad, step: int, length: int, end: int) -> None:
    said = say(task, wrong_in_step(task, step), NEXT, length)
    assert (int(said.own), int(said.given)) == (STEP * step, end)
    assert said.tokens[0, 0, :end].equal(task.answer[three_steps(task)][:end])


@pytest.mark.parametrize(("kind", "length", "end"), [(PREFIX, 1, 5), (PREFIX, 2, 10), (PREFIX, 99, 15), (FULL, 1, 16)])
@pytest.mark.parametrize("right", [False, True])
def test_prefix_and_full_solution_replace_everything(
    task: Scratchpad, kind: int, length: int, end: int, right: bool
) -> None:
    said = say(task, wrong_in_step(task, 1), kind, length, right)
    assert (int(said.own), int(said.given)) == (0, end)
    assert said.mask.sum() == end
    assert said.tokens[0, 0, :end].equal(task.answer[three_steps(task)][:end])


@pytest.mark.parametrize("kind", [MARK, NEXT])
def test_to_a_right_attempt_there_is_nothing_to_say(task: Scratchpad, kind: int) -> None:
    attempt = task.answer[three_steps(task)]
    said = say(task, attempt, kind, right=True)
    assert not said.mask.any()
    assert said.tokens[0, 0].equal(attempt)


@pytest.mark.parametrize("kind", [MARK, NEXT])
def test_a_solution_without_an_end_is_ended(task: Scratchpad, kind: int) -> None:
    attempt = task.answer[three_steps(task)].clone()
    attempt[-1] = task.following
    said = say(task, attempt, kind)
    assert (int(said.own), int(said.given)) == (15, 16)
    assert int(said.tokens[0, 0, 15]) == task.end


def test_nonsense_gets_feedback_that_fits_into_the_context(task: Scratchpad) -> None:
    for token in range(task.vocabulary):
        attempt = torch.full((16,), token)
        for kind in range(len(KINDS)):
            said = say(task, attempt, kind, 3)
            assert 0 <= int(said.own) <= int(said.given) <= 16


def choose(right: Tensor, which: str, fraction: float) -> Tensor:
    students = len(right)
    key = torch.arange(students)
    return choose_attempts(key, right, torch.full((students,), fraction), torch.full((students,), WHICH.index(which)))


def verdicts() -> Tensor:
    """Two groups of eight for each of 50 students: nobody right, and half of them right."""
    right = torch.zeros(50, 2, 8, dtype=torch.bool)
    right[:, 1, ::2] = True
    return right


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("which", WHICH)
def test_as_many_are_chosen_as_were_asked_for_and_as_there_are(which: str, fraction: float) -> None:
    right = verdicts()
    chosen = choose(right, which, fraction)
    candidates = {"wrong": [8, 4], "mixed": [8, 8], "random": [8, 8], "stuck": [8, 0]}[which]
    wanted = [min(int(fraction * 8), n) for n in candidates]
    assert chosen.sum(2).eq(torch.tensor(wanted)).all()
    if which in ("wrong", "stuck"):
        assert not (chosen & right).any()


def test_mixed_takes_right_and_wrong_ones_by_turns() -> None:
    right = verdicts()
    chosen = choose(right, "mixed", 0.5)[:, 1]
    assert (chosen & right[:, 1]).sum(1).eq(2).all()


def test_the_choice_is_random_and_belongs_to_the_student() -> None:
    right = verdicts()
    chosen = choose(right, "random", 0.25)[:, 0]
    assert chosen.float().mean(0).min() > 0.1
    assert choose(right[:5], "random", 0.25)[:, 0].equal(chosen[:5])
