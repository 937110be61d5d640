"""CHAMP: what is taught and what is left out, who may say what, and answers that should not pass."""

from __future__ import annotations

import re

import pytest

from kdgym.tasks import SPLITS, make_task
from kdgym.tasks.champ.answers import final_answer, is_right, listed_answer
from kdgym.tasks.champ.task import Champ
from kdgym.testing import check_splits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task() -> Champ:
    made = make_task("CHAMP")
    assert isinstance(made, Champ)
    return made


# --- problems --------------------------------------------------------------------------------------------------------


def test_every_field_has_problems_in_every_split_and_none_in_two(task: Champ) -> None:
    check_splits(task)
    pools = {split: task.pool(split) for split in SPLITS}
    assert sum(int(pool.count.sum()) for pool in pools.values()) == len(task.solution) == 226
    assert min(int(pool.count.min()) for pool in pools.values()) >= 5
    assert len({task.text(problem) for problem in range(226)}) == 226


def test_no_hint_and_no_step_of_a_solution_crosses_a_split(task: Champ) -> None:
    """So nothing that a student is told while it practises is about a problem of another split; variants stay together."""
    said: dict[str, set[str]] = {}
    for split in SPLITS:
        pool = task.pool(split)
        for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
            for problem in range(start, start + count):
                for sentence in (*task.advice(problem, "hint"), *task.advice(problem, "next_step")):
                    said.setdefault(sentence, set()).add(split)
    assert [sentence for sentence, splits in said.items() if len(splits) > 1] == []
    assert len(said) > 1000


def test_what_people_wrote_is_at_hand(task: Champ) -> None:
    number = len(task.solution)
    assert all(task.advice(problem, "next_step") for problem in range(number))
    said = sum(bool(task.advice(problem, "hint") or task.advice(problem, "concept")) for problem in range(number))
    assert said == number
    for problem in range(number):
        whole = "\n".join(task.advice(problem, "full_solution"))
        assert task.verify(problem, whole)


def test_tiny_students_are_told_why_not(task: Champ) -> None:
    with pytest.raises(ValueError, match="too long for tiny students"):
        assert task.vocabulary


# --- what CHAMP calls the answer -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "listed"),
    [
        ("239", "239"),
        ("@@C(10, 5)@@, or equivalently @@252@@", "C(10, 5)"),
        ("100 (i.e., all values)", "100"),
        ("The limit exists and is equal to @@2/3@@", "2/3"),
        ("At most 0 integer-valued zeros (i.e., no integer zeros)", "0"),
        ("@@n@@ times", "n"),
        ("No integer solutions", "None"),
        ("@@sum_(i=1)^n i^2@@, or equivalently @@n(n+1)(2n+1)/6@@", "n(n+1)(2n+1)/6"),
        ("1, 4 and 9", None),
        ("@@x=6, y=5@@", None),
        ("@@x(n)<y(n-1)@@ for all @@n≥3@@", None),
        ("Exactly one sequence", None),
        ("@@x(x-1)(x-2)...(x-2022)@@", None),
        ("@@[-1, 1]@@", None),
    ],
)
def test_answers_are_taken_where_they_can_be_verified(raw: str, listed: str | None) -> None:
    assert listed_answer(raw) == listed


# --- the verifier ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "given"),
    [
        ("239", "First 200, then 39.\nAnswer: 239."),
        ("239", "Answer: 5\nHint: no.\nAnswer: $239$"),
        ("239", r"so it is" "\n" r"\boxed{239}"),
        ("239", "**239**"),
        ("239", "240 - 1"),
        ("C(10, 5)", "252"),
        ("C(10, 5)", r"\binom{10}{5}"),
        ("1/2", "0.5"),
        ("sqrt(3)/3", r"\frac{1}{\sqrt{3}}"),
        ("n(n-3)/2", "(n^2 - 3n)/2"),
        ("2^(n-1)", "2^n/2"),
        ("2^floor(n/2)*floor(n/2)!", r"\lfloor n/2 \rfloor! \cdot 2^{\lfloor n/2 \rfloor}"),
        ("(2n)!/(2^n*n!)", r"\frac{(2n)!}{2^n n!}"),
        ("2^997", "2^{997}"),
        ("No", "Answer: no."),
        ("None", "none"),
    ],
)  # fmt: skip
def test_right_answers_pass(listed: str, given: str) -> None:
    assert is_right(given, listed)


ADVERSARIAL = {
    "239": [
        "", "Answer:", "not 239", "238 or 239", "238, 239", "Answer: 239\nAnswer: 238", "Answer: 239 (or 238)", "about 239",
        "The answer is 239", "239?", ">=239", "238=239", "x=239", "{238, 239}", "[239, 240]", "2 3 9", "23 9", "239%", "23900%",
        "239.0000001", "x", "239x/x", "239+0x", "(239", "239)", "}{", "٢٣٩", "²39", "239" * 40, "Yes", "1/0", "0/0", "oo",
        r"239 \text{ or } 2", r"239\\238", "sum(239)", "__import__('os')", "lambda: 239", "9^9^9^9", "((9^99)^99)^99",
        "(9999!)!", "9999!!!!", r"\binom{99999999}{50000}", "9999^9999^9999", "2^(1/0)", "2^(0/0)", "$", "$$", r"\boxed{}",
    ],
    "n(n-3)/2": ["n", "n(n-3)", "n(n-3)/2 or 0", "m(m-3)/2", "n(n-3)/2=1", "(n+1)^(9999999)", "(n+1)^(99*99)", "n^n^n^n^n"],
    "sqrt(2)": ["1.41421356", "1.41421356237309504880", "1.414...", "-sqrt(2)", "sqrt(2)i"],
    "5/14": ["0.357142857", "0.35714285714285714285", "35.7%"],
    "No": ["Yes", "No Yes", "Yes and no", "Nope", "No, or yes", "0"],
    "None": ["0", "No", "None or one", "nothing"],
    "0": ["None", "No", "n-n", "O"],
}  # fmt: skip


@pytest.mark.parametrize("listed", ADVERSARIAL)
def test_answers_that_should_not_pass_do_not(listed: str) -> None:
    assert [given for given in ADVERSARIAL[listed] if is_right(given, listed)] == []


def test_the_right_answer_of_another_problem_is_wrong(task: Champ) -> None:
    answers = [task.answer_text(problem) for problem in range(len(task.solution))]
    for problem in range(0, len(answers), 9):
        other = answers[(problem + 1) % len(answers)]
        assert task.verify(problem, other) == (is_right(other, final_answer(answers[problem])))
    assert not is_right(answers[0], "5")


def test_a_problems_text_does_not_answer_it(task: Champ) -> None:
    passed = [p for p in range(len(task.solution)) if task.verify(p, task.text(p))]
    assert passed == []
    for problem in range(len(task.solution)):  # nor does any formula in it, alone
        formulas = re.findall(r"[-0-9a-z+*/^()!]*[+*/^!][-0-9a-z+*/^()!]*", task.text(problem).partition("\n")[0])
        assert [f for f in formulas if task.verify(problem, f"Answer: {f}")] == [], problem
