"""The arithmetic task: every answer against plain Python, no leak between splits, a verifier nobody talks round."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from itertools import combinations, product
from types import FrameType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdgym.tasks import SPLITS, make_task
from kdgym.tasks.math import Math
from kdgym.testing import check_splits

SIZES = [(3, 2), (3, 3), (4, 2), (6, 1), (6, 2), (7, 2), (10, 1), (10, 2)]
SOLVE: dict[str, Callable[..., int | str]] = {
    "add_no_carry": lambda a, b: a + b,
    "add": lambda a, b: a + b,
    "add_three": lambda a, b, c: a + b + c,
    "sub_no_borrow": lambda a, b: a - b,
    "sub": lambda a, b: a - b,
    "add_sub": lambda a, b, c: a + b - c,
    "compare": lambda a, b: "<" if a < b else ">" if a > b else "=",
    "max": lambda a, b: a if a > b else b,
    "min": lambda a, b: b if a > b else a,
    "difference": lambda a, b: a - b if a > b else b - a,
    "parity": lambda a, b: int(a % 2 != b % 2),
    "mul": lambda a, b: a * b,
    "mod": lambda a, b: divmod(a, b)[1],
    "gcd": math.gcd,
}
ALLOWED: dict[str, Callable[..., bool]] = {
    "add_no_carry": lambda a, b: all(x + y < 6 for x, y in zip(divmod(a, 6), divmod(b, 6), strict=True)),
    "sub_no_borrow": lambda a, b: all(x >= y for x, y in zip(divmod(a, 6), divmod(b, 6), strict=True)),
    "sub": lambda a, b: a >= b,
    "add_sub": lambda a, b, c: a + b - c >= 0,
    "mul": lambda a, b: a * b < 6**3,
    "mod": lambda a, b: b != 0,
    "gcd": lambda a, b: (a, b) != (0, 0),
}
ITEMS = [
    ("add_no_carry", (25, 4), "what is 41 + 4? Answer with the number only.", "45"),
    ("add", (10, 29), "what is 14 + 45? Answer with the number only.", "103"),
    ("add_three", (33, 17, 7), "what is 53 + 25 + 11? Answer with the number only.", "133"),
    ("sub_no_borrow", (22, 15), "what is 34 - 23? Answer with the number only.", "11"),
    ("sub", (26, 5), "what is 42 - 5? Answer with the number only.", "33"),
    ("add_sub", (30, 7, 4), "what is 50 + 11 - 4? Answer with the number only.", "53"),
    ("compare", (6, 26), "which of <, =, > stands between 10 and 42? Answer with the sign only.", "<"),
    ("max", (27, 3), "what is max(43, 3)? Answer with the number only.", "43"),
    ("min", (18, 33), "what is min(30, 53)? Answer with the number only.", "30"),
    ("difference", (12, 1), "what is |20 - 1|? Answer with the number only.", "15"),
    ("parity", (13, 6), "what is (21 + 10) mod 2? Answer with the number only.", "1"),
    ("mul", (4, 17), "what is 4 * 25? Answer with the number only.", "152"),
    ("mod", (19, 10), "what is 31 mod 14? Answer with the number only.", "13"),
    ("gcd", (24, 10), "what is gcd(40, 14)? Answer with the number only.", "2"),
]
REFUSED = [
    "", " ", "0", "1", "10", "03", "104", "301", "1030", "1003",  # other numbers
    "39", "0x27", "0o47", "103.", "103.0", ".103", "1e2", "103e0", "103j", "1,03", "1_03",  # other notations
    "+103", "-103", "\N{MINUS SIGN}103", "--103", "- 103", "<", "103=", "=103",  # signs
    "1 03", "1\n03", "103 103", "103\n104", "104\n103", "103\n103", "103\n\n.", "103;",  # several things
    "the answer is 103", "answer: 103", "103 apples", "one hundred and three",  # prose
    '"103"', "'103'", "(103)", "$103$", "\\boxed{103}", "**103**", "`103`", "<b>103</b>",  # mark-up
    "103\0", "\x00103", "\x0b103", "103\x0c", "103\x1c", "104\x08\x083", "\N{NO-BREAK SPACE}103",  # odd blanks
    "103\N{LINE SEPARATOR}", "\N{ZERO WIDTH SPACE}103", "\N{ZERO WIDTH NO-BREAK SPACE}103", "103\N{EM SPACE}",
    "\u0661\u0660\u0663", "\uff11\uff10\uff13", "\u0967\u0966\u0969", "\U0001d7cf\U0001d7ce\U0001d7d1",  # digits
    "\u00b9\u2070\u00b3", "10\uff13", "10\u00b3", "\u0660103", "\u216d\u2162",  # digits of other scripts
    "nan", "inf", "None", "True", ".*", "[0-9]+", "%s", "{}",  # for programs
]  # fmt: skip


@pytest.fixture(scope="module")
def task() -> Math:
    """The task as environments use it."""
    return Math()


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"base {size[0]}, {size[1]} digits")
def sized(request: pytest.FixtureRequest) -> Math:
    """A task of every size in turn."""
    return Math(*request.param)


def numeral(value: int, radix: int) -> str:
    text = ""
    while value or not text:
        value, digit = divmod(value, radix)
        text = str(digit) + text
    return text


def sample(task: Math, most: int = 5000) -> list[int]:
    """Problems spread over the whole table."""
    return list(range(0, len(task.solution), 1 + len(task.solution) // most))


def skill_name(task: Math, problem: int) -> str:
    return task.skills[int(task.skill_of[problem])].name


def operands(task: Math, problem: int) -> tuple[int, ...]:
    return tuple(value for value in task.operands[problem].tolist() if value >= 0)


def find(task: Math, name: str, terms: tuple[int, ...]) -> int:
    row = torch.tensor((*terms, -1)[:3])
    skill = [skill.name for skill in task.skills].index(name)
    return int(((task.operands == row).all(1) & (task.skill_of == skill)).nonzero())


# --- problems and answers ----------------------------------------------------------------------------------------


def test_every_solution_is_what_python_computes(sized: Math) -> None:
    for problem in sample(sized):
        expected = SOLVE[skill_name(sized, problem)](*operands(sized, problem))
        expected = expected if isinstance(expected, str) else numeral(expected, sized.radix)
        assert sized.answer_text(int(sized.solution[problem])) == expected, sized.text(problem)


def test_every_solution_is_one_of_the_answers_of_its_skill(sized: Math) -> None:
    start, count = sized.answer_pool.start[sized.skill_of], sized.answer_pool.count[sized.skill_of]
    assert (start <= sized.solution).all() and (sized.solution < start + count).all()
    assert (start + count <= len(sized.answer)).all()


@pytest.mark.parametrize("name", SOLVE)
def test_every_allowed_tuple_is_asked_exactly_once(task: Math, name: str) -> None:
    """Of three operands only those whose three pairs are in one split."""
    add = torch.stack([task.pool(split).start[1] for split in SPLITS])
    pairs = {operands(task, p): int((add <= p).sum()) for p in range(len(task.solution)) if task.skill_of[p] == 1}
    arity = 3 if name in ("add_three", "add_sub") else 2
    allowed = ALLOWED.get(name, lambda *_: True)
    expected = [
        terms
        for terms in product(range(36), repeat=arity)
        if allowed(*terms) and len({pairs[pair] for pair in combinations(terms, 2)}) == 1
    ]
    skill = [skill.name for skill in task.skills].index(name)
    asked = [tuple(row) for row in task.operands[task.skill_of == skill][:, :arity].tolist()]
    assert sorted(asked) == expected


def test_tokens_of_a_problem_spell_its_operands(sized: Math) -> None:
    place = sized.radix ** torch.arange(sized.digits)
    terms = sized.prompt[:, :-1].view(-1, 3, sized.digits)
    missing = sized.operands < 0
    assert torch.equal((terms * place).sum(2)[~missing], sized.operands[~missing])
    assert (terms[missing] == sized.radix).all()


def test_tokens_of_an_answer_spell_its_text(sized: Math) -> None:
    for answer, tokens in enumerate(sized.answer.tolist()):
        if all(token < sized.radix for token in tokens):
            value = sum(token * sized.radix**place for place, token in enumerate(tokens))
            assert sized.answer_text(answer) == numeral(value, sized.radix)
        else:
            assert sized.answer_text(answer) in ("<", "=", ">") and tokens[1:] == [sized.radix] * sized.digits
    assert len(sized.answer.unique(dim=0)) == len(sized.answer)


def test_equal_tokens_have_equal_solutions(sized: Math) -> None:
    prompt = (sized.prompt * sized.vocabulary ** torch.arange(sized.prompt.shape[1])).sum(1)
    assert (prompt * len(sized.answer) + sized.solution).unique().numel() == prompt.unique().numel()


def test_every_token_is_in_the_vocabulary(sized: Math) -> None:
    used = torch.cat([sized.prompt.flatten(), sized.answer.flatten()]).unique()
    assert torch.equal(used, torch.arange(sized.vocabulary))


# --- skills and splits -------------------------------------------------------------------------------------------


def test_prerequisites_exist_and_have_no_cycle(task: Math) -> None:
    graph = {skill.name: skill.prerequisites for skill in task.skills}
    assert len(graph) == len(task.skills) == len(SOLVE)
    assert set(TopologicalSorter(graph).static_order()) == set(graph)


def test_no_pair_of_operands_is_in_two_splits(sized: Math) -> None:
    """Every unordered pair of every problem of every skill."""
    split = torch.full_like(sized.solution, -1)
    for i, name in enumerate(SPLITS):
        pool = sized.pool(name)
        for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
            assert (split[start : start + count] == -1).all()
            split[start : start + count] = i
    assert (split >= 0).all(), "a problem is in no split"
    pairs, n = [], sized.radix**sized.digits
    for i, j in combinations(range(3), 2):
        low, high = sized.operands[:, [i, j]].sort(dim=1).values.T
        pairs.append(((low * n + high) * len(SPLITS) + split)[sized.operands[:, j] >= 0])
    pair = torch.cat(pairs).unique() // len(SPLITS)  # each once for every split it occurs in
    assert pair.unique().numel() == len(pair) == math.comb(n + 1, 2)


def test_splits_are_70_15_15_of_the_pairs(task: Math) -> None:
    share = torch.stack([task.pool(split).count[1] for split in SPLITS]) / 36**2
    assert share.tolist() == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_every_skill_has_enough_problems_in_every_split(task: Math) -> None:
    for split in SPLITS:
        assert (task.pool(split).count >= 60).all()


def test_whatever_can_be_built_has_every_skill_in_every_split(sized: Math) -> None:
    for split in SPLITS:
        assert (sized.pool(split).count > 0).all()


def test_the_problems_of_a_pool_have_its_skill(task: Math) -> None:
    for split in SPLITS:
        pool = task.pool(split)
        for skill, (start, count) in enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True)):
            assert (task.skill_of[start : start + count] == skill).all()


def test_the_public_check_of_splits_passes(task: Math) -> None:
    check_splits(task)


# --- text and verdict --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "terms", "text", "answer"), ITEMS)
def test_items_read_like_this(task: Math, name: str, terms: tuple[int, ...], text: str, answer: str) -> None:
    problem = find(task, name, terms)
    assert task.text(problem) == f"In base 6, {text}"
    assert task.answer_text(int(task.solution[problem])) == answer


def test_base_ten_is_not_mentioned() -> None:
    task = make_task("Math", radix=10)
    assert task.text(0).startswith("What is ")


def test_the_text_gives_the_operands_in_order(sized: Math) -> None:
    for problem in sample(sized, 1000):
        terms = operands(sized, problem)
        written = re.findall("[0-9]+", sized.text(problem).removeprefix(f"In base {sized.radix}"))
        assert written[: len(terms)] == [numeral(value, sized.radix) for value in terms]


def test_the_text_uses_digits_of_the_base_alone(sized: Math) -> None:
    for problem in sample(sized, 1000):
        written = sized.text(problem).removeprefix(f"In base {sized.radix}")
        assert all(int(digit) < sized.radix for digit in re.findall("[0-9]", written)), sized.text(problem)


def test_the_solution_is_accepted(sized: Math) -> None:
    for problem in sample(sized, 1000):
        assert sized.verify(problem, sized.answer_text(int(sized.solution[problem])))


@pytest.mark.parametrize("text", ["103", "0103", "000103", " 103", "103\n", "\t 103 \r\n", "\n\n00103  "])
def test_leading_zeros_and_blanks_around_do_not_matter(task: Math, text: str) -> None:
    assert task.verify(find(task, "add", (10, 29)), text)


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused(task: Math, text: str) -> None:
    assert not task.verify(find(task, "add", (10, 29)), text)


@pytest.mark.parametrize(
    "text", ["", " ", ">", "=", "<=", "<<", "< >", "=<", "&lt;", "\uff1c", "less", "0", "1", "216", "-1"]
)
def test_a_sign_is_that_sign_alone(task: Math, text: str) -> None:
    problem = find(task, "compare", (6, 26))
    assert task.verify(problem, " <\n")
    assert not task.verify(problem, text)


@pytest.mark.parametrize(("text", "right"), [("0", True), ("000", True), ("", False), ("-0", False), ("+0", False)])
def test_zero_is_written_as_a_zero(task: Math, text: str, right: bool) -> None:
    assert task.verify(find(task, "sub", (20, 20)), text) is right


@given(answer=st.integers(0, 215), zeros=st.integers(0, 9))
def test_a_number_is_right_if_and_only_if_it_is_the_solution(answer: int, zeros: int) -> None:
    task = make_task("Math")
    problem = find(task, "mul", (4, 17))
    assert task.verify(problem, "0" * zeros + numeral(answer, 6)) is (answer == 4 * 17)


@given(st.text(st.sampled_from("0123 \n\t+-.<x\u0663\uff13")))
def test_an_accepted_text_is_the_answer_but_for_zeros_and_blanks(text: str) -> None:
    task = make_task("Math")
    if task.verify(find(task, "add", (10, 29)), text):
        assert text.strip(" \t\r\n").lstrip("0") == "103"


@contextmanager
def cpu_seconds(limit: float) -> Iterator[None]:
    """Stop what computes for longer (processor time of this process, whatever else the machine does)."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("0" * 10**6 + "103", True),
        (" " * 10**6 + "103" + "\n" * 10**6, True),
        ("0" * 10**6, False),
        ("0" * 10**6 + "x", False),
        ("1" * 10**6 + "x", False),
        ("103" + " " * 10**6 + "x", False),
        (" " * 10**6, False),
        ("103 " * 10**6, False),
    ],
    ids=["zeros and 103", "blanks around 103", "zeros", "zeros and x", "ones and x", "103 blanks x", "blanks", "103s"],
)
def test_a_very_long_text_gets_its_verdict(task: Math, text: str, right: bool) -> None:
    problem = find(task, "add", (10, 29))
    with cpu_seconds(5):
        assert task.verify(problem, text) is right


# --- making a task -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radix", [-1, 0, 1, 2, 11, 16])
def test_a_base_out_of_range_is_refused(radix: int) -> None:
    with pytest.raises(ValueError, match=f"radix is {radix}"):
        make_task("Math", radix=radix)


@pytest.mark.parametrize("digits", [-1, 0, 4])
def test_a_number_of_digits_out_of_range_is_refused(digits: int) -> None:
    with pytest.raises(ValueError, match=f"digits is {digits}"):
        make_task("Math", digits=digits)


@pytest.mark.parametrize(("radix", "digits"), [(3, 1), (5, 1)])
def test_a_size_too_small_for_three_splits_is_refused(radix: int, digits: int) -> None:
    with pytest.raises(ValueError, match=f"radix={radix} with digits={digits} leaves the skill .* without problems"):
        make_task("Math", radix=radix, digits=digits)


@pytest.mark.parametrize("name", ["math", "Maths", ""])
def test_an_unknown_task_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="choose from Math"):
        make_task(name)


def test_equal_options_give_one_task() -> None:
    assert make_task("Math", radix=4, digits=2) is make_task("Math", digits=2, radix=4)
    assert make_task("Math", radix=4, digits=2) is not make_task("Math", radix=5, digits=2)


def test_a_task_is_the_same_wherever_it_is_built(task: Math) -> None:
    again = Math()
    for name in ("prompt", "solution", "answer", "operands", "skill_of"):
        assert torch.equal(getattr(task, name), getattr(again, name))
