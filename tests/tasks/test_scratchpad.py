"""The scratchpad task against an independent computation, and everything a student or a person may write to it."""

from __future__ import annotations

import re

import pytest
import torch

from kdgym.tasks import SPLITS, make_task
from kdgym.tasks.base import UnreadableError
from kdgym.tasks.scratchpad import ERRORS, STEP, Scratchpad
from kdgym.testing import ContractError, check_splits


@pytest.fixture(scope="module", params=[6, 10])
def task(request: pytest.FixtureRequest) -> Scratchpad:
    made = make_task("Scratchpad", radix=request.param)
    assert isinstance(made, Scratchpad)
    return made


def some(task: Scratchpad, n: int = 40) -> list[int]:
    """Problems spread over all skills and splits."""
    return list(range(0, len(task.prompt), len(task.prompt) // n))


def compute(task: Scratchpad, problem: int) -> list[int]:
    """The running results, from the text alone."""
    expression = task.text(problem).split(" = ?")[0].rpartition(":")[2]
    terms = re.findall(r"([+-]?)\s*(\d+)", expression)
    value, results = 0, []
    for sign, digits in terms:
        value += (-1 if sign == "-" else 1) * int(digits, task.radix)
        results.append(value)
    return results[1:]


def test_solutions_agree_with_the_text(task: Scratchpad) -> None:
    for problem in some(task):
        steps = task.answer_text(int(task.solution[problem])).rstrip(".").split(";")
        assert [int(step.partition("=")[2], task.radix) for step in steps] == compute(task, problem)
        assert len(steps) == int(task.number_of_steps[problem])


def test_skills_are_what_they_are_called(task: Scratchpad) -> None:
    for problem in some(task):
        name, results = task.skills[int(task.skill_of[problem])].name, compute(task, problem)
        first = int(task.text(problem).rpartition(":")[2].split()[0], task.radix)
        tens = [value // task.radix for value in [first, *results]]
        assert name.split("_")[0] == ("one", "two", "three")[len(results) - 1]
        assert name.endswith("easy") == (len(set(tens)) == 1)


def test_splits_share_no_opening(task: Scratchpad) -> None:
    with pytest.raises(ContractError, match="have twins in another split"):  # with their steps in another order
        check_splits(task)
    openings: dict[tuple[int, ...], str] = {}
    for split in SPLITS:
        pool = task.pool(split)
        for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
            for opening in task.prompt[start : start + count, :4].unique(dim=0).tolist():
                assert openings.setdefault(tuple(opening), split) == split


@pytest.mark.parametrize("radix", [4, 6])
def test_in_version_1_the_first_number_decides_the_split(radix: int) -> None:
    task = make_task("Scratchpad", radix=radix, version=1)
    assert isinstance(task, Scratchpad)
    check_splits(task)
    firsts: dict[str, set[int]] = {}
    for split in SPLITS:
        pool = task.pool(split)
        prompts = [task.prompt[a : a + n] for a, n in zip(pool.start.tolist(), pool.count.tolist(), strict=True)]
        assert all(len(prompt) for prompt in prompts)
        firsts[split] = {n for prompt in prompts for n in (prompt[:, 0] + radix * prompt[:, 1]).tolist()}
    assert sum(map(len, firsts.values())) == len(set.union(*firsts.values())) == radix**2
    assert set(range(radix)) <= firsts["train"]  # they may stand in a step's place
    assert len(firsts["train"]) == pytest.approx(0.7 * radix**2, abs=1)


def test_faulty_solutions_have_one_kind_of_mistake_in_every_step(task: Scratchpad) -> None:
    """Wrong operator, wrong operand, wrong units, no carry; in the result only a carry that is not there may be right."""
    problem = torch.arange(len(task.solution))
    for kind, written in enumerate(task.faulty):
        right = task.judge(problem, written)
        hard = task.skill_of % 2 == 1
        place, error = task.first_error(problem, written)
        if ERRORS[1 + kind] == "carry":
            assert right[~hard].all() and not right[hard].all()
        else:
            assert (place < STEP).all() and (error == 1 + kind).float().mean() > 0.9
        wrong = place < written.shape[1]
        assert (error[wrong] == 1 + kind).float().mean() > 0.9


def test_an_own_answer_is_judged_by_its_last_number(task: Scratchpad) -> None:
    problem = int(task.pool("train").start[4])
    right = task.answer[problem]
    bare = torch.full_like(right, task.end)
    bare[:2] = right[STEP * 3 - 2 : STEP * 3]
    endless = right.clone()
    endless[right == task.end] = task.following
    marked = torch.where(right == task.following, task.mark, right)
    other = right.clone()
    other[STEP * 3 - 2] = (other[STEP * 3 - 2] + 1) % task.radix
    nothing, short = torch.full_like(right, task.end), torch.full_like(right, task.end)
    short[0] = right[STEP * 3 - 2]
    verdicts = task.judge(
        torch.tensor([problem] * 7), torch.stack([right, bare, marked, endless, other, nothing, short])
    )
    assert verdicts.tolist() == [True, True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("-1=14.", True), ("14", True), (" 14 . ", True), ("014", True), ("-1=14", True), ("+9=24;-10=14", False), ("", False),
        ("15", False), ("14 15", False), ("14 or 15", False), ("1e1", False), ("١٤", False), ("-14", False), ("14;", False),
        ("-1=14;", False), ("=14", False), ("+1=15;-1=14.", True),
    ],
)  # fmt: skip
def test_the_verifier_on_what_people_may_write(text: str, right: bool) -> None:
    task = make_task("Scratchpad")
    assert isinstance(task, Scratchpad)
    problem = next(i for i in range(len(task.prompt)) if task.text(i).startswith("15 - 1 ="))
    assert task.verify(problem, text) is right


@pytest.mark.parametrize(
    ("place", "token", "kind"),
    [
        (0, "end", "malformed"), (1, "minus", "operator"), (1, "digit", "malformed"), (2, "digit", "copy"),
        (2, "plus", "malformed"), (3, "digit", "sum"), (3, "other", "operator"), (4, "digit", "carry"),
        (5, "minus", "malformed"), (9, "digit", "carry"),
    ],
)  # fmt: skip
def test_errors_are_told_apart(place: int, token: str, kind: str) -> None:
    task = make_task("Scratchpad")
    assert isinstance(task, Scratchpad)
    skill = [s.name for s in task.skills].index("two_hard")
    start = int(task.pool("train").start[skill])
    problem = next(
        i for i in range(start, start + 999) if task.prompt[i, 2] == task.plus and task.prompt[i, 3] in (2, 3)
    )
    tokens = task.answer[problem].clone()
    operand = int(task.prompt[problem, 3])
    tokens[place] = {
        "end": task.end,
        "minus": task.minus,
        "plus": task.plus,
        "digit": (int(tokens[place]) + 1) % 10 if int(tokens[place]) < 10 else 4,
        "other": (int(tokens[place]) - 2 * operand) % 10,
    }[token]
    at, found = task.first_error(torch.tensor(problem), tokens)
    assert (int(at), ERRORS[int(found)]) == (place, kind)


def test_a_solution_has_no_error_and_marks_are_none(task: Scratchpad) -> None:
    problem = torch.tensor(some(task))
    right = task.answer[problem]
    for tokens in (right, torch.where(right == task.following, task.mark, right)):
        assert (task.first_error(problem, tokens)[0] == right.shape[1]).all()


def test_careless_people_make_the_mistakes_they_are_known_for(task: Scratchpad) -> None:
    problem = torch.tensor(some(task, 400))
    for kind, name in enumerate(("operator", "copy", "sum", "carry")):
        rates = torch.zeros(4)
        rates[kind] = 1.0
        tokens = task.careless(problem, torch.tensor(3), rates)
        place, found = task.first_error(problem, tokens)
        wrong = place < tokens.shape[1]
        assert {ERRORS[i] for i in found[wrong].tolist()} <= {name, "operator"}
        hard = task.skill_of[problem] % 2 == 1
        assert wrong[hard].all()
        assert wrong[~hard].all() == (name != "carry")
    clean = task.careless(problem, torch.tensor(3), torch.zeros(4))
    assert task.judge(problem, clean).all()
    assert (clean == task.mark).any()


def test_what_is_written_can_be_read(task: Scratchpad) -> None:
    for problem in some(task):
        text = task.answer_text(problem)
        assert task.read_answer(text).equal(task.answer[problem])
        assert task.verify(problem, text)
        assert int(task.read_problem(task.write_problem(problem)).solution) == problem if problem < 50 else True


@pytest.mark.parametrize("text", ["", "14", "+8", "+8=", "*8=45", "+8=45;;-6=39", "+8=45;-6=39;+1=40;+1=41", "+8=456"])
def test_unreadable_answers_are_refused(text: str) -> None:
    with pytest.raises(UnreadableError, match="no scratchpad"):
        make_task("Scratchpad").read_answer(text)


@pytest.mark.parametrize(("options", "message"), [({"radix": 3}, "from 4 to 10"), ({"steps": 5}, "1 to 4 steps")])
def test_bad_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scratchpad(**options)
