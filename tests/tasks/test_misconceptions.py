"""Wrong rules: what they answer, where that is wrong, and that nothing else about the tasks depends on them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kdgym.tasks import make_task
from kdgym.tasks.base import Task
from kdgym.tasks.misconceptions import choose_misconceptions, wrong_rules
from kdgym.tasks.vqa.questions import ANSWERS, PAIRS

NAMES = ["Code", "Math", "VQA"]


def skill(task: Task, name: str) -> int:
    return [s.name for s in task.skills].index(name)


def mistaken(task: Task, name: str) -> Tensor:
    return task.mistaken(next(m for m in task.misconceptions if m.name == name))


@pytest.fixture(scope="module")
def math() -> Any:
    return make_task("Math")


@pytest.fixture(scope="module")
def vqa() -> Any:
    return make_task("VQA")


@pytest.fixture(scope="module")
def code() -> Any:
    return make_task("Code")


# --- every task ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_task_knows_some(name: str) -> None:
    task = make_task(name)
    names = [m.name for m in task.misconceptions]
    assert len(set(names)) == len(names) >= 3
    for m in task.misconceptions:
        assert m.description.endswith(".") and m.skills
        assert set(m.skills) <= {s.name for s in task.skills}


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_followed_in_its_skills_and_nowhere_else(name: str) -> None:
    task = make_task(name)
    rules = wrong_rules(task)
    assert rules.answer.shape == (len(task.misconceptions), *task.prompt.shape[:1], *task.answer.shape[1:])
    for m, misconception in enumerate(task.misconceptions):
        inside = torch.tensor([s.name in misconception.skills for s in task.skills])[task.skill_of]
        assert torch.equal(rules.answer[m, ~inside], task.answer[task.solution[~inside]])
        assert not rules.wrong[m, ~inside].any()
        for name_of_skill in misconception.skills:
            assert rules.wrong[m, task.skill_of == skill(task, name_of_skill)].any(), name_of_skill


@pytest.mark.parametrize("name", NAMES)
def test_wrong_is_what_the_verifier_refuses(name: str) -> None:
    task = make_task(name)
    rules = wrong_rules(task)
    for m in range(len(task.misconceptions)):
        for problem in torch.arange(m, len(task.prompt), 997).tolist():
            text = task.write_tokens(rules.answer[m, problem])
            assert task.verify(problem, text) != bool(rules.wrong[m, problem]), text


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_shows_in_every_split(name: str) -> None:
    task = make_task(name)
    wrong = wrong_rules(task).wrong
    for split in ("train", "validation", "test"):
        pool = task.pool(split)  # type: ignore[arg-type]
        here = torch.cat(
            [torch.arange(a, a + n) for a, n in zip(pool.start.tolist(), pool.count.tolist(), strict=True)]
        )
        assert (wrong[:, here].sum(1) >= 20).all()


# Tables of version 0 may not change: scores would.
DIGESTS = {
    ("Code", "answer"): "ec3cab2f7a7394b7",
    ("Code", "prompt"): "ee22d46010f49589",
    ("Code", "solution"): "65cdf7060f9e1646",
    ("Math", "answer"): "d6cc5667beabd67e",
    ("Math", "prompt"): "74a0743aa4d3d450",
    ("Math", "solution"): "36462597bcb0b7dd",
    ("VQA", "answer"): "e42d489f38967946",
    ("VQA", "prompt"): "15dfc86493d114e1",
    ("VQA", "solution"): "53d25746cd919c85",
}


@pytest.mark.parametrize(("name", "table"), sorted(DIGESTS))
def test_tables_are_those_of_their_version(name: str, table: str) -> None:
    task = make_task(name)
    assert task.version == 0
    digest = hashlib.sha256(getattr(task, table).contiguous().numpy().tobytes()).hexdigest()
    assert digest.startswith(DIGESTS[name, table])


def test_choosing_by_number_and_by_name(math: Any) -> None:
    number, allowed = choose_misconceptions(math, 2)
    assert number == 2 and allowed.all()
    number, allowed = choose_misconceptions(math, ("adds_to_multiply", "drops_carries"))
    assert number == 2 and allowed.tolist() == [True, False, False, True, False, False]


@pytest.mark.parametrize("wanted", [("drops_everything",), ("drops_carries", "Drops_carries"), ("",), 7, -1])
def test_what_is_not_there_is_refused_with_a_list(math: Any, wanted: Any) -> None:
    with pytest.raises(ValueError, match="drops_carries, smaller_from_larger"):
        choose_misconceptions(math, wanted)


def test_a_task_may_know_none(math: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(math), "misconceptions", ())
    assert choose_misconceptions(math, 0)[0] == 0
    with pytest.raises(ValueError, match="Math knows none"):
        choose_misconceptions(math, 1)


# --- arithmetic, in base 6 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "operands", "answer"),
    [
        ("drops_carries", "add", "25 43", "02"),  # 5+3 = 12 leaves 2, 2+4 = 10 leaves 0
        ("drops_carries", "add", "1 55", "50"),
        ("smaller_from_larger", "sub", "10 5", "15"),
        ("smaller_from_larger", "sub", "43 25", "22"),
        ("smaller_from_larger", "difference", "14 52", "42"),
        ("swaps_larger_and_smaller", "compare", "3 12", ">"),
        ("swaps_larger_and_smaller", "compare", "12 3", "<"),
        ("swaps_larger_and_smaller", "compare", "12 12", "="),
        ("swaps_larger_and_smaller", "max", "3 12", "3"),
        ("swaps_larger_and_smaller", "min", "3 12", "12"),
        ("adds_to_multiply", "mul", "12 3", "15"),
        ("swaps_dividend_and_divisor", "mod", "3 11", "1"),  # 7 mod 3
        ("swaps_dividend_and_divisor", "mod", "0 11", "0"),
        ("ignores_third_number", "add_three", "0 1 12", "1"),
        ("ignores_third_number", "add_sub", "54 4 51", "102"),
    ],
)
def test_wrong_arithmetic(math: Any, name: str, kind: str, operands: str, answer: str) -> None:
    terms = [int(term, 6) for term in operands.split()]
    wanted = torch.tensor([*terms, *[-1] * (3 - len(terms))])
    (problem,) = ((math.operands == wanted).all(1) & (math.skill_of == skill(math, kind))).nonzero()[0].tolist()
    assert math.write_tokens(mistaken(math, name)[problem]) == (answer.lstrip("0") or "0")


@given(st.data())
def test_dropped_carries_digit_by_digit(data: st.DataObject) -> None:
    math: Any = make_task("Math", radix=data.draw(st.sampled_from([4, 6, 10])))
    sums = (math.skill_of == skill(math, "add")).nonzero().squeeze(1)
    problem = int(sums[data.draw(st.integers(0, len(sums) - 1))])
    a, b = (math.numeral(int(n)).rjust(2, "0") for n in math.operands[problem, :2])
    digits = "".join(str((int(x) + int(y)) % math.radix) for x, y in zip(a, b, strict=True))
    assert math.write_tokens(mistaken(math, "drops_carries")[problem]) == (digits.lstrip("0") or "0")


@pytest.mark.parametrize("options", [{"radix": 10}, {"radix": 3, "digits": 3}])
def test_wrong_arithmetic_in_other_bases(options: dict[str, int]) -> None:
    task = make_task("Math", **options)
    assert wrong_rules(task).wrong.any(1).all()


def test_options_under_which_a_rule_is_never_wrong_are_refused() -> None:
    task = make_task("Math", digits=1)  # no digit ever borrows
    with pytest.raises(ValueError, match="smaller_from_larger changes no answer"):
        wrong_rules(task)


# --- pictures --------------------------------------------------------------------------------------------------------


def read(vqa: Any, tokens: Tensor, problem: int) -> str:
    return str(vqa.write_tokens(tokens[problem]))


def some(vqa: Any, kind: str) -> list[int]:
    problems: Tensor = (vqa.skill_of == skill(vqa, kind)).nonzero().squeeze(1)
    return [int(p) for p in problems[::37]]


def test_threes_are_read_as_fives(vqa: Any) -> None:
    wrong = mistaken(vqa, "reads_three_as_five")
    for problem in some(vqa, "identify"):
        digit = int(vqa.digit[vqa.scene[problem], vqa.argument[problem]])
        assert read(vqa, wrong, problem) == str({3: 5}.get(digit, digit))
    for problem in some(vqa, "sum"):
        digits = vqa.digit[vqa.scene[problem]].tolist()
        assert read(vqa, wrong, problem) == str(
            sum({3: 5}.get(digits[c], digits[c]) for c in PAIRS[int(vqa.argument[problem])])
        )


def test_the_larger_digit_is_named_for_the_sum(vqa: Any) -> None:
    wrong = mistaken(vqa, "takes_larger_for_sum")
    for problem in some(vqa, "sum"):
        digits = vqa.digit[vqa.scene[problem]].tolist()
        assert read(vqa, wrong, problem) == str(max(digits[c] for c in PAIRS[int(vqa.argument[problem])]))


def test_small_digits_are_overlooked(vqa: Any) -> None:
    wrong = mistaken(vqa, "overlooks_small_digits")
    for problem in some(vqa, "how_many"):
        scene = vqa.scene[problem]
        large = [d for d, small in zip(vqa.digit[scene].tolist(), vqa.small[scene].tolist(), strict=True) if not small]
        assert read(vqa, wrong, problem) == str(sum(d >= 0 for d in large))


def test_where_only_small_digits_are_the_overlooker_has_no_largest(vqa: Any) -> None:
    wrong = mistaken(vqa, "overlooks_small_digits")
    blind = ((vqa.digit >= 0) == vqa.small).all(1)[vqa.scene] & (vqa.skill_of == skill(vqa, "largest"))
    assert blind.any()
    assert torch.equal(wrong[blind], vqa.answer[vqa.solution[blind]])


def test_one_too_many_is_counted(vqa: Any) -> None:
    wrong = mistaken(vqa, "counts_one_too_many")
    for kind in ("count", "how_many"):
        for problem in some(vqa, kind):
            right = int(ANSWERS[int(vqa.solution[problem])])
            assert read(vqa, wrong, problem) == str(right + (right > 0))


def test_smaller_and_larger_are_swapped(vqa: Any) -> None:
    wrong = mistaken(vqa, "swaps_smaller_and_larger")
    for problem in some(vqa, "compare"):
        assert {read(vqa, wrong, problem), ANSWERS[int(vqa.solution[problem])]} == {"smaller", "larger"}
    for problem in some(vqa, "largest"):
        assert read(vqa, wrong, problem) == str(min(d for d in vqa.digit[vqa.scene[problem]].tolist() if d >= 0))


# --- programs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "right", "wrong"),
    [
        ("off_by_one", "slicing", ["x[:2]"], ["x[:3]"]),
        ("off_by_one", "slicing", ["x[:3]"], ["x[:3]"]),  # there is no x[:4]
        ("off_by_one", "slicing", ["x[1:]", "x[::-1]"], ["x[2:]", "x[::-1]"]),
        ("off_by_one", "indexing", ["sum(x[0:1])"], ["sum(x[1:2])"]),
        ("off_by_one", "indexing", ["sum(x[-1:])"], ["sum(x[-1:])"]),
        ("swaps_branches", "conditional", ["x if x > 2 else 2"], ["x if x < 2 else 2"]),
        ("swaps_branches", "conditional", ["x if x > 0 else -x"], ["x if x > 0 else -x"]),
        ("swaps_above_and_below", "comparison", ["x > 3"], ["x < 3"]),
        ("swaps_above_and_below", "comparison", ["x == 3"], ["x == 3"]),
        ("swaps_above_and_below", "filtering", ["[v for v in x if v < 1]"], ["[v for v in x if v > 1]"]),
        ("forgets_last_step", "methods", ["x.upper()", "x[:3]"], ["x.upper()"]),
        ("forgets_last_step", "methods", ["x.upper()"], ["x.upper()"]),
    ],
)
def test_wrong_programs(code: Any, name: str, kind: str, right: list[str], wrong: list[str]) -> None:
    def program(lines: list[str]) -> str:
        return "\n".join(["def f(x):", *(f"    x = {line}" for line in lines), "    return x", ""])

    answers = mistaken(code, name)
    here = (code.skill_of == skill(code, kind)).nonzero().squeeze(1).tolist()
    found = [p for p in here if code.answer_text(int(code.solution[p])) == program(right)]
    assert found
    assert {code.write_tokens(answers[p]) for p in found} == {program(wrong)}


@pytest.mark.slow
def test_steps_are_done_as_told(code: Any) -> None:
    answers = mistaken(code, "takes_steps_as_told")
    for p in (code.skill_of == skill(code, "arithmetic")).nonzero().squeeze(1)[::5].tolist():
        lines = code.answer_text(int(code.solution[p])).splitlines()[1:-1]
        told = "before that" in code.text(p)
        assert code.write_tokens(answers[p]).splitlines()[1:-1] == (lines[::-1] if told else lines)


@pytest.mark.slow
def test_a_wrong_program_that_does_the_same_is_right(code: Any) -> None:
    """x + 1 and then x + 2, in either order."""
    m = [m.name for m in code.misconceptions].index("takes_steps_as_told")
    rules = wrong_rules(code)
    different = (rules.answer[m] != code.answer[code.solution]).any(1)
    assert (different & ~rules.wrong[m]).any()
