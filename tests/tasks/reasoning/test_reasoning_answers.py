"""Verdicts on answers to reasoning-gym's problems: exact for every dataset, whatever a student tries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from kdgym.tasks import make_task
from kdgym.tasks.reasoning.answers import OPEN, UNSUPPORTED, Verifier
from kdgym.tasks.reasoning.task import SMALL, Reasoning
from kdgym.tasks.reasoning.worker import make_items

pytestmark = pytest.mark.slow

# Quick ones; `test_every_dataset` checks the others.
QUICK_OPEN = ["cryptarithm", "graph_color", "kakurasu", "palindrome_generation", "shortest_path", "tower_of_hanoi"]
ADVERSARIAL: dict[str, Callable[[str], str]] = {
    "hidden in a sentence": lambda right: f"The answer is {right}.",
    "hidden in noise": lambda right: f"0 1 2 3 4 5 6 7 8 9 {right} a b c",
    "either or": lambda right: f"{right} or {right}1",
    "twice": lambda right: f"{right} {right}",
    "as two lines": lambda right: f"{right}\n{right}",
    "without its end": lambda right: right[:-1],
    "with a wrong end": lambda right: f"{right}#",
    "quoted": lambda right: f"`{right}`",
    "nothing": lambda right: "",
    "blanks": lambda right: " \t\r\n ",
    "a foreign blank": lambda right: f"\u00a0{right}",
    "a zero-width blank": lambda right: f"{right}\u200b",
    "a null": lambda right: f"{right}\0",
    "huge": lambda right: f"{right} " * 20_000,
    "huge blanks": lambda right: " " * 1_000_000 + right,
    "a huge number": lambda right: "9" * 100_000,
    "no number": lambda right: "nan",
    "infinite": lambda right: "1e999999999",
    "code": lambda right: f"(lambda: {right!r})()",
    "a call": lambda right: "__import__('os').getcwd()",
    "a list": lambda right: json.dumps([right]),
}


@pytest.fixture(scope="module")
def task() -> Reasoning:
    """The task as environments use it."""
    task = make_task("Reasoning")
    assert isinstance(task, Reasoning)
    return task


def solution_of(task: Reasoning, problem: int) -> str:
    return task.answer_text(int(task.solution[problem]))


def some_problems(task: Reasoning, skill: int, number: int) -> list[int]:
    """Problems of a skill, spread over all its splits."""
    return (
        (task.skill_of == skill).nonzero().squeeze(1)[:: max(1, int((task.skill_of == skill).sum()) // number)].tolist()
    )


def in_other_digits(text: str) -> str:
    """The same digits, from another script."""
    return "".join(chr(0x0660 + int(c)) if c in "0123456789" else c for c in text)


def test_the_solution_of_every_problem_is_right(task: Reasoning) -> None:
    assert all(task.verify(problem, solution_of(task, problem)) for problem in range(len(task.solution)))


@pytest.mark.parametrize("attack", ADVERSARIAL)
@pytest.mark.parametrize("skill", SMALL)
def test_nobody_talks_the_verifier_round(task: Reasoning, skill: str, attack: str) -> None:
    for problem in some_problems(task, list(SMALL).index(skill), 20):
        assert not task.verify(problem, ADVERSARIAL[attack](solution_of(task, problem)))


@pytest.mark.parametrize("skill", SMALL)
def test_the_answer_to_another_problem_is_wrong(task: Reasoning, skill: str) -> None:
    index = list(SMALL).index(skill)
    problems = some_problems(task, index, 40)
    answers = {solution_of(task, problem) for problem in problems}
    assert len(answers) > 1
    for problem in problems:
        right = solution_of(task, problem)
        assert [text for text in answers if task.verify(problem, text)] == [right]


def test_digits_of_another_script_are_wrong(task: Reasoning) -> None:
    for skill in ("gcd", "lcm", "products", "number_filtering"):
        for problem in some_problems(task, list(SMALL).index(skill), 10):
            assert not task.verify(problem, in_other_digits(solution_of(task, problem)))


@pytest.mark.parametrize(
    ("given", "answer", "right"),
    [
        ("12", "12", True),
        (" 12\n", "12", True),
        ("12.0", "12", True),
        ("+012", "12", True),
        ("-0.50", "-0.5", True),
        ("1 2", "12", False),
        ("12.", "12", False),
        ("1_2", "12", False),
        ("1e1", "10", False),
        ("0x0c", "12", False),
        ("12,0", "12", False),
        ("--12", "-12", False),
        ("١٢", "12", False),
        ("1/2", "1/2", True),
        ("2/4", "1/2", False),
        ("0.5", "1/2", False),
        ("yes", "Yes", False),
        ("a b \nc  \n\n", "a b\nc", True),
        ("a b c", "a b\nc", False),
        ("a  b\nc", "a b\nc", False),
    ],
)
def test_an_answer_is_the_text_or_the_number(given: str, answer: str, right: bool) -> None:
    assert Verifier("gcd", {}).is_right(given, answer, "{}") is right


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("3*8*(2 - 1)", True),
        ("(2-1) * 8 * 3", True),
        ("8/(2-1)*3", True),
        ("8*3", False),
        ("8*3*1*2 - 8*3", False),
        ("24", False),
        ("8*3*(2-1) # 24", False),
        ("8*3*(2-1) or 24", False),
        ("8*3**(2-1)", False),
        ("8//(2-1)*3", False),
        ("8*3/(1-1)*2", False),
        ("9**9**9**9", False),
        ("(" * 150 + "8*3*(2-1)" + ")" * 150, False),
        ("-" * 179 + "8*3*(2-1)", False),
        ("8*3*(2-1)" + " " * 30_000, False),
        ("٨*3*(2-1)", False),
        ("", False),
    ],
)
def test_a_sum_has_to_use_the_numbers_and_to_make_the_target(given: str, right: bool) -> None:
    metadata = json.dumps({"numbers": [1, 2, 3, 8]})
    assert Verifier("puzzle24", {}).is_right(given, "8*3*(2 - 1) + 0", metadata) is right


@pytest.fixture(scope="module")
def open_task() -> Reasoning:
    return Reasoning({name: {} for name in QUICK_OPEN}, items=64)


@pytest.mark.parametrize("attack", ADVERSARIAL)
@pytest.mark.parametrize("name", QUICK_OPEN)
def test_nobody_talks_the_scorers_round(open_task: Reasoning, name: str, attack: str) -> None:
    for problem in some_problems(open_task, QUICK_OPEN.index(name), 8):
        assert open_task.verify(problem, solution_of(open_task, problem))
        assert not open_task.verify(problem, ADVERSARIAL[attack](solution_of(open_task, problem)))


def test_another_right_answer_is_right(open_task: Reasoning) -> None:
    """Colours may be exchanged, and a longer way round a tower is none."""
    problem = some_problems(open_task, QUICK_OPEN.index("graph_color"), 1)[0]
    colours = json.loads(solution_of(open_task, problem))
    exchanged = {vertex: {1: 2, 2: 1}.get(colour, colour) for vertex, colour in colours.items()}
    assert exchanged != colours and open_task.verify(problem, json.dumps(exchanged))
    assert not open_task.verify(problem, json.dumps(dict.fromkeys(colours, 1)))
    problem = some_problems(open_task, QUICK_OPEN.index("tower_of_hanoi"), 1)[0]
    moves = solution_of(open_task, problem).split("\n")
    _, _, disk, _, _, start, _, _, goal = moves[-1].split()
    back = f"Move disk {disk} from Peg {goal} to Peg {start}"
    assert not open_task.verify(problem, "\n".join([*moves, back, moves[-1]]))
    assert not open_task.verify(problem, "\n".join(moves[:-1]))


@pytest.mark.thorough
def test_every_dataset() -> None:
    """Of all 106: its own answers are right, hidden or those of other problems are not, or it is named as unsupported."""
    from reasoning_gym.factory import DATASETS

    assert len(DATASETS) >= 106 and set(OPEN) | set(UNSUPPORTED) <= set(DATASETS)
    for name in sorted(set(DATASETS) - set(UNSUPPORTED)):
        verifier, items = Verifier(name, {}), list(make_items(name, {}, seed=0, items=8))
        answers = [item["answer"] for item in items]
        for item in items:
            right, metadata = item["answer"], json.dumps(item["metadata"], default=str)
            assert verifier.is_right(right, right, metadata), name
            assert not verifier.is_right(f"The answer is {right}.", right, metadata), name
            if name not in OPEN:
                assert [text for text in set(answers) if verifier.is_right(text, right, metadata)] == [right], name
            elif re.fullmatch(OPEN[name], right):  # also without being the one listed, and not whatever has the form
                assert verifier.is_right(right, f"{right}.", metadata), name
                assert not all(verifier.is_right(text, f"{right}.", metadata) for text in answers), name


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_taught_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=UNSUPPORTED[name]):
        Reasoning([name])
