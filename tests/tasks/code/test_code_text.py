"""The programming task in text: how problems read, and which programs the verifier accepts."""

from __future__ import annotations

import pytest
import torch

from kdgym.tasks import make_task
from kdgym.tasks.code.pipelines import LINES
from kdgym.tasks.code.task import Code

pytestmark = pytest.mark.slow

START = "Write a Python function f(x) that takes"
TEXTS = [
    (
        ("[v for v in x if v % 2 == 0]", "[v * 2 for v in x]", "sum(x)"),
        {
            f"{START} a list of integers, does the following and returns the result: {steps}."
            for steps in (
                "first keep only the even items, then multiply every item by 2, then add up all items",
                "keep only the even items; next multiply every item by 2; next add up all items",
                "add up all items, but before that multiply every item by 2, but before that keep only the even items",
                "at the end add up all items, just before that multiply every item by 2, just before that keep only the even "
                "items",
            )
        },
    ),
    (
        ("x[:1]", "x.upper()"),
        {
            f"{START} a string, does the following and returns the result: {steps}."
            for steps in (
                "first keep only its first character, then change it to upper case",
                "keep only its first character; next change it to upper case",
                "change it to upper case, but before that keep only its first character",
                "at the end change it to upper case, just before that keep only its first character",
            )
        },
    ),
    (
        ("x.split()", "x[:2]", "' '.join(x)"),
        {
            f"{START} a string, does the following and returns the result: {steps}."
            for steps in (
                "first split it into a list of words at blanks, then keep only its first 2 items, then join the strings with "
                "single blanks between them",
                "split it into a list of words at blanks; next keep only its first 2 items; next join the strings with single "
                "blanks between them",
                "join the strings with single blanks between them, but before that keep only its first 2 items, but before "
                "that split it into a list of words at blanks",
                "at the end join the strings with single blanks between them, just before that keep only its first 2 items, "
                "just before that split it into a list of words at blanks",
            )
        },
    ),
]  # fmt: skip

# For "double every item, then add up": a list of integers to an integer.
DOUBLE_SUM = ("[v * 2 for v in x]", "sum(x)")
RIGHT = [
    "def f(x): return 2 * sum(x)",
    "def f(x):\n    return sum(v + v for v in x)",
    "f = lambda x: sum(x) * 2",
    "def f(x: list[int]) -> int:\n    '''Doubles, then adds.'''\n    s = 0\n    for v in x:\n        s += v * 2\n    return s",
    "from typing import List\n\ndef f(x: List[int]) -> int:\n    return sum(map(lambda v: 2 * v, x))",
    "def double(v):\n    return 2 * v\n\n\ndef f(numbers):  # any name\n    return sum([double(v) for v in numbers])",
    "def f(x):\n    i = s = 0\n    while i < len(x):\n        s, i = s + 2 * x[i], i + 1\n    return s",
    "def f(x):\n    return 0 if not x else 2 * x[0] + f(x[1:])",
    "def f(x):\n    print('working')\n    return 2 * sum(x)",
    "import math\ndef f(x):\n    return 2 * sum(x)\n\nif __name__ == '__main__':\n    print(f([1, 2]))",
    "def f(x):\n    x.sort()\n    return sum(x) * 2",
    "\n\n  \ndef f(x): return 2 * sum(x)   \n\n",
    "def f(x):\r\n    return 2 * sum(x)\r\n",
    "def f(x):\n\treturn 2 * sum(x)",
    "```python\ndef f(x): return 2 * sum(x)\n```",
    "```\ndef f(x): return 2 * sum(x)\n```",
    "  ```py\ndef f(x): return 2 * sum(x)\n  ```  ",
    "Here it is:\n\n```python\ndef f(x):\n    return 2 * sum(x)\n```\n\nUse it so:\n```python\nf([1])\n```\n",
]  # fmt: skip
WRONG = [
    "", " ", "def f(x): return sum(x)", "def f(x): return 2 * x", "def f(x): pass", "def f(x): return None",
    "2 * sum(x)", "lambda x: 2 * sum(x)", "f = 3", "x = [v * 2 for v in x]\nx = sum(x)",  # not a function
    "def g(x): return 2 * sum(x)", "def F(x): return 2 * sum(x)", "def f(x, y): return 2 * sum(x)",  # another function
    "def f(): return 2 * sum(x)", "class f:\n    def __call__(self, x): return 2 * sum(x)",
    "def f(x): print(2 * sum(x))", "def f(x):\n    2 * sum(x)",  # nothing returned
    "def f(x): return str(2 * sum(x))", "def f(x): return 2.0 * sum(x)", "def f(x): return [2 * sum(x)]",  # types
    "def f(x): return (2 * sum(x),)", "def f(x): return 2 * sum(x), 1",
    "async def f(x): return 2 * sum(x)", "def f(x):\n    yield 2 * sum(x)",
    "class A:\n    def __eq__(self, other): return True\ndef f(x): return A()",  # equal to everything
    "class A:\n    def __repr__(self): return '0'\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "def f(x):\n    while True: pass", "def f(x): return f(x)", "def f(x): return [0] * 10**12",  # too much
    "def f(x): return 2 * x[0] + 2 * sum(x[1:])", "def f(x): return max(x) * 2",  # edge cases
    "import os\ndef f(x): return os.system('true') + 2 * sum(x)", "import kdgym\ndef f(x): return 2 * sum(x)",
    "```python\ndef f(x): return sum(x)\n```\n```python\ndef f(x): return 2 * sum(x)\n```",  # the first counts
    "def f(x): return 2 * sum(x)\n```", "The function is def f(x): return 2 * sum(x)",
    "def f(x): return 2 * sum(x))", "def f(x): return 2 * sum(x)\x00",
    "def f(x): return 2 * sum(x) #" + "a" * 20_000, "#" * 10**6,
    "def f(x): return expected", "def f(x): return inputs", "def f(x): return verify(x)",
]  # fmt: skip


@pytest.fixture(scope="module")
def task() -> Code:
    task = make_task("Code")
    assert isinstance(task, Code)
    return task


def problems(task: Code, *lines: str) -> list[int]:
    """All problems with these lines as the solution."""
    tokens = [LINES.index(line) + 1 for line in lines] + [0] * (3 - len(lines))
    return [int(p) for p in (task.answer[task.solution] == torch.tensor(tokens)).all(1).nonzero()]


@pytest.mark.parametrize(("lines", "texts"), TEXTS)
def test_problems_read_like_this(task: Code, lines: tuple[str, ...], texts: set[str]) -> None:
    written = {task.text(problem) for problem in problems(task, *lines)}
    assert written and written <= texts


def test_an_answer_reads_like_this(task: Code) -> None:
    problem = problems(task, *DOUBLE_SUM)[0]
    program = "def f(x):\n    x = [v * 2 for v in x]\n    x = sum(x)\n    return x\n"
    assert task.answer_text(int(task.solution[problem])) == program


def test_no_text_has_a_gap(task: Code) -> None:
    for problem in range(0, len(task.prompt), 7):
        text = task.text(problem)
        assert not set("#{}_") & set(text) and "None" not in text and "  " not in text, text


@pytest.mark.parametrize("program", RIGHT)
def test_any_program_that_does_it_is_right(task: Code, program: str) -> None:
    assert task.verify(problems(task, *DOUBLE_SUM)[0], program)


@pytest.mark.parametrize("program", WRONG)
def test_anything_else_is_wrong(task: Code, program: str) -> None:
    problem = problems(task, *DOUBLE_SUM)[0]
    assert not task.verify(problem, program)
    assert task.verify(problem, RIGHT[0])


@pytest.mark.parametrize(
    ("lines", "right", "wrong"),
    [
        (("x > 2",), "x > 2", ["int(x > 2)", "str(x > 2)", "1 if x > 2 else 0", "[x > 2]", "float(x > 2)"]),
        (("sum(x)", "x * 2"), "sum(x) * 2", ["sum(x) * 2.0", "str(sum(x) * 2)", "bool(sum(x))"]),
        (("x[1:]",), "x[1:]", ["list(x[1:])", "(x[1:],)", "' ' + x[1:]", "x[1:].strip()"]),
        (
            ("sorted(x)",),
            "sorted(x)",
            ["tuple(sorted(x))", "str(sorted(x))", "[float(v) for v in sorted(x)]", "set(x)"],
        ),
    ],
)
def test_types_are_compared_exactly(task: Code, lines: tuple[str, ...], right: str, wrong: list[str]) -> None:
    problem = next(p for p in problems(task, *lines) if "takes a string" in task.text(p) or lines != ("x[1:]",))
    assert task.verify(problem, f"def f(x): return {right}")
    for expression in wrong:
        assert not task.verify(problem, f"def f(x): return {expression}"), expression
