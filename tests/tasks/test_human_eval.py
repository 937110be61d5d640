"""HumanEval as a task: its reference solutions pass, and nothing else does that should not."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

from kdgym.tasks import SPLITS, make_task
from kdgym.tasks.human_eval import HumanEval, complete

PROMPT = 'import math\n\ndef double(x: int) -> int:\n    """Twice x."""\n'


@pytest.fixture(scope="module")
def task() -> HumanEval:
    made = make_task("HumanEval")
    assert isinstance(made, HumanEval)
    return made


def number(task: HumanEval, name: str) -> int:
    return next(i for i in range(len(task.solution)) if f"def {name}(" in task.text(i))


@pytest.mark.slow
def test_every_reference_solution_is_right_and_nothing_at_all_is_not(task: HumanEval) -> None:
    assert len(task.solution) == 161
    for problem in range(len(task.solution)):
        assert task.verify(problem, task.answer_text(int(task.solution[problem])))
        assert not task.verify(problem, "    return None")


def test_splits_are_disjoint_and_every_skill_has_each(task: HumanEval) -> None:
    seen: list[int] = []
    for split in SPLITS:
        pool = task.pool(split)
        assert pool.count.min() >= 5
        for skill, (start, count) in enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True)):
            seen += range(start, start + count)
            assert (task.skill_of[start : start + count] == skill).all()
    assert sorted(seen) == list(range(161))


@pytest.mark.parametrize(
    "answer",
    [
        "    return 2 * x",
        "return 2 * x",
        "y = x\nreturn 2 * y",
        "```python\n    return 2 * x\n```",
        "Here it is:\n```python\ndef double(x):\n    return 2 * x\n```\nIt doubles.",
        "if x == 0:\n    return 0\nreturn 2 * x",
        "y = x\n    return 2 * y",
    ],
)
def test_answers_are_bodies_or_functions_with_or_without_a_fence(answer: str) -> None:
    program = complete(PROMPT, "double", answer)
    assert program is not None
    namespace: dict[str, object] = {}
    exec(program, namespace)
    assert namespace["double"](21) == 42  # type: ignore[operator]
    assert program.startswith("import math\n")


@pytest.mark.parametrize("answer", ["", "  \n ", "```python\n```"])
def test_nothing_is_no_program(answer: str) -> None:
    assert complete(PROMPT, "double", answer) is None


FOOLS = {
    "exits": "    raise SystemExit(0)",
    "own check": "    return None\n\ndef check(candidate):\n    pass",
    "own abs": "    return 0\n\nabs = lambda x: 0",
    "global abs": "    global abs\n    abs = lambda x: 0\n    return 0",
    "imported": "    return 0\n\nfrom math import floor as abs",
    "loop variable": "    return 0\n\nfor abs in [lambda x: 0]:\n    pass",
    "equal to all": "    class A:\n        def __eq__(self, other):\n            return True\n    return A()",
    "says passed": "    return 'passed'",
    "prints": "    print('passed')",
    "endless": "    while True:\n        pass",
    "hungry": "    return [0] * 10**10",
    "deep": "    return truncate_number(number)",
    "no Python": "I would return number % 1.0.",
    "null byte": "    return number % 1.0\0",
    "reads files": "    return open('/etc/passwd').read()",
    "other function": "```python\ndef something_else(x):\n    return x\n```",
    "huge": "    return " + "(" * 3000 + "1" + ")" * 3000,
}


@pytest.mark.parametrize("answer", FOOLS)
def test_tests_are_not_fooled(task: HumanEval, answer: str) -> None:
    problem = number(task, "truncate_number")
    assert task.verify(problem, "    return number % 1.0")
    assert not task.verify(problem, FOOLS[answer])
    assert task.verify(problem, "    return number % 1.0"), "the sandbox still works"


def test_problems_and_answers_are_read_back(task: HumanEval) -> None:
    train = int(task.pool("train").start[0])
    posed = task.read_problem(task.write_problem(train))
    assert int(posed.solution) == train
    assert torch.equal(task.read_answer(task.answer_text(train)), task.answer[train])


def test_tiny_students_are_told_why_not() -> None:
    with pytest.raises(ValueError, match="HumanEval is too long for tiny students; choose a language model"):
        gym.make("kdgym/DataGen-Code-v0", task="HumanEval")
