"""The questions of the visual task: their words, their tokens, and their answers in a scene of 2 x 3 cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kdgym.tasks.base import Misconception, Skill
from kdgym.tasks.vqa.handwriting import Ints

ROWS, COLUMNS = 2, 3
CELLS = "ABCDEF"
# Neighbours: left and right, upper and lower.
PAIRS = tuple(
    (a, b) for a, b in itertools.combinations(range(6), 2) if b == a + COLUMNS or (b == a + 1 and b != COLUMNS)
)
_FIRST, _SECOND = np.array(PAIRS).T
_MOST = 3  # how many of one digit a question counts
ANSWERS: tuple[str, ...] = (*map(str, range(19)), *CELLS, "no", "yes", "smaller", "larger")
# Where the answers of a kind lie among all answers (of ten digits), and how the format is asked for.
KINDS = {
    "digit": (0, 10, "the digit"),
    "count": (0, ROWS * COLUMNS + 1, "the number"),
    "few": (0, _MOST + 1, "the number"),
    "sum": (0, 19, "the number"),
    "cell": (19, len(CELLS), "the letter of the cell"),
    "bit": (25, 2, "yes or no"),
    "order": (27, 2, "smaller or larger"),
}
LAYOUT = (
    "The picture has six cells: A, B, C from left to right in the upper row, D, E, F in the lower row. "
    "A cell is empty or holds one handwritten digit, large or small (three quarters the size). "
)


def _shown(digit: Ints, value: npt.ArrayLike) -> Ints:
    """``value`` where there is a digit; -1, which means "not asked", in an empty cell."""
    return np.where(digit >= 0, value, -1)


def _of_pair(digit: Ints, relation: Callable[[Ints, Ints], npt.ArrayLike]) -> Ints:
    first, second = digit[:, _FIRST], digit[:, _SECOND]
    return _shown(np.minimum(first, second), relation(first, second))


def _hits(digit: Ints) -> npt.NDArray[np.bool_]:
    """bool [M, 10, 6]: where each of the ten digits is."""
    hits: npt.NDArray[np.bool_] = digit[:, None] == np.arange(10)[:, None]
    return hits


def _exists(digit: Ints) -> Ints:
    return np.where(_hits(digit).any(2), 1, 0)


def _count(digit: Ints) -> Ints:
    count = _hits(digit).sum(2)
    return np.where(count <= _MOST, count, -1)


def _cell_of(digit: Ints) -> Ints:
    """int64 [M, 10]: the cell of every digit that is there exactly once."""
    hits = _hits(digit)
    return np.where(hits.sum(2) == 1, hits.argmax(2), -1)


def _left_of_next(digit: Ints) -> Ints:
    cell = _cell_of(digit)
    following = np.pad(cell[:, 1:], ((0, 0), (0, 1)), constant_values=-1)  # nothing follows a 9
    return _shown(np.minimum(cell, following), cell % COLUMNS < following % COLUMNS)


def _odd_one_out(digit: Ints) -> Ints:
    """The cell whose digit differs from all others, which are alike and at least two."""
    alike = (digit[:, :, None] == digit[:, None]).sum(2)
    digits = (digit >= 0).sum(1, keepdims=True)
    others = ((digit >= 0) & (alike == digits - 1)).sum(1, keepdims=True)
    odd = (digit >= 0) & (alike == 1)
    return np.where((digits >= 3) & (others == digits - 1), odd.argmax(1)[:, None], -1)


def _small_one(digit: Ints, small: Ints) -> Ints:
    alone = small.sum(1) == 1
    return np.where(alone, digit[np.arange(len(digit)), small.argmax(1)], -1)[:, None]


Solve: TypeAlias = Callable[[Ints, Ints], Ints]


@dataclass(frozen=True)
class Rule(Skill):
    """A skill with its question, the kinds of its argument and its answer, and the answers of all scenes at once.

    ``solve`` gets the digits (-1: empty) and the sizes of the cells of M scenes, both int64 [M, 6], and returns the answer
    within its kind for every scene and argument; -1 where the question is not asked.
    """

    question: str = ""
    argument: str = "none"  # "cell", "pair", "digit" or "none"
    answers: str = "bit"
    solve: Solve = lambda digit, small: digit


# Prerequisites are what makes a tiny student learn a skill from fewer items: adding the digits of two cells teaches where to
# look for "the same" and "smaller", and finding a digit teaches whether there is one.
RULES: tuple[Rule, ...] = (
    Rule("empty", "Whether a cell is empty.", (), "Is cell {cell} empty?", "cell", "bit",
          lambda digit, small: (digit < 0).astype(np.int64)),
    Rule("size", "Whether a digit is a small one.", ("empty",), "Is the digit in cell {cell} small?", "cell", "bit",
          _shown),
    Rule("identify", "Read the digit in a cell.", (), "Which digit is in cell {cell}?", "cell", "digit",
          lambda digit, small: digit),
    Rule("parity", "Whether the digit in a cell is odd.", ("identify",), "Is the digit in cell {cell} odd?", "cell",
          "bit", lambda digit, small: _shown(digit, digit % 2)),
    Rule("same", "Whether two cells hold the same digit.", ("sum",),
          "Do cells {first} and {second} hold the same digit?", "pair", "bit",
          lambda digit, small: _of_pair(digit, lambda a, b: a == b)),
    Rule("compare", "Which relation holds between the digits of two cells.", ("sum",),
          "Is the digit in cell {first} smaller or larger than the digit in cell {second}?", "pair",
          "order", lambda digit, small: _of_pair(digit, lambda a, b: np.where(a == b, -1, a > b))),
    Rule("sum", "Add the digits of two cells.", ("identify",),
          "What is the sum of the digits in cells {first} and {second}?", "pair", "sum",
          lambda digit, small: _of_pair(digit, lambda a, b: a + b)),
    Rule("exists", "Whether a digit is anywhere.", ("locate",), "Is there a {digit}?", "digit", "bit",
          lambda digit, small: _exists(digit)),
    Rule("locate", "Find the cell of a digit.", ("identify",), "In which cell is the {digit}?", "digit", "cell",
          lambda digit, small: _cell_of(digit)),
    Rule("count", "Count how often a digit is there.", ("locate",), "How often is there a {digit}?", "digit", "few",
          lambda digit, small: _count(digit)),
    Rule("left_of", "Whether a digit is further left than the next one.", ("locate",),
          "Is the {digit} in a column further left than the column of the {next}?", "digit", "bit",
          lambda digit, small: _left_of_next(digit)),
    Rule("how_many", "Count the digits.", (), "How many cells hold a digit?", "none", "count",
          lambda digit, small: np.sum(digit >= 0, axis=1)[:, None]),
    Rule("small_one", "Read the only small digit.", ("size", "identify"), "Which digit is the small one?", "none",
          "digit", _small_one),
    Rule("largest", "The largest of all digits.", ("identify",), "Which is the largest digit?", "none", "digit",
          lambda digit, small: np.sort(digit, axis=1)[:, -1:]),
    Rule("odd_one_out", "Find the digit that differs from all others, which are alike.", (),
          "Which cell holds a digit that differs from all others?", "none", "cell",
          lambda digit, small: _odd_one_out(digit)),
)  # fmt: skip

_SOLVE = {rule.name: rule.solve for rule in RULES}


def _seeing(look: Solve, *skills: str) -> dict[str, Solve]:
    """Right answers about what a student sees instead of the digits that are there."""

    def wrong(solve: Solve) -> Solve:
        return lambda digit, small: solve(look(digit, small), small)

    return {skill: wrong(_SOLVE[skill]) for skill in skills}


def _but(skill: str, change: Callable[[Ints], Ints]) -> dict[str, Solve]:
    """The right answer, changed."""
    return {skill: lambda digit, small: change(_SOLVE[skill](digit, small))}


# Wrong rules are like ``Rule.solve``: -1 where they find no answer.
MISCONCEPTIONS: tuple[Misconception, ...] = (
    Misconception("reads_three_as_five", "Takes every 3 for a 5.",
                  _seeing(lambda digit, small: np.where(digit == 3, 5, digit), "identify", "same", "compare", "sum",
                          "exists", "count", "small_one", "largest")),
    Misconception("overlooks_small_digits", "Takes a cell with a small digit for empty.",
                  _seeing(lambda digit, small: np.where(small > 0, -1, digit), "empty", "exists", "count", "how_many",
                          "largest")),
    Misconception("takes_larger_for_sum", "Names the larger of two digits that are to be added.",
                  {"sum": lambda digit, small: _of_pair(digit, np.maximum)}),
    Misconception("counts_one_too_many", "Counts the first one twice.",
                  {**_but("count", lambda answer: answer + (answer > 0)), **_but("how_many", lambda answer: answer + 1)}),
    Misconception("swaps_smaller_and_larger", "Takes the larger of two digits for the smaller one.",
                  {**_but("compare", lambda answer: 1 - answer),
                   "largest": lambda digit, small: np.where(digit < 0, 9, digit).min(1, keepdims=True)}),
)  # fmt: skip

_ARGUMENTS: dict[str, tuple[dict[str, str | int], ...]] = {
    "cell": tuple({"cell": name} for name in CELLS),
    "pair": tuple({"first": CELLS[a], "second": CELLS[b]} for a, b in PAIRS),
    "digit": tuple({"digit": digit, "next": digit + 1} for digit in range(10)),
    "none": ({},),
}
_PADDING = len(ANSWERS)
_FIRST_TOKEN = {"digit": 0, "cell": ANSWERS.index("A"), "pair": _PADDING + 1}  # of an argument
_FIRST_WORD = _PADDING + 1 + len(PAIRS)
VOCABULARY = _FIRST_WORD + len(RULES)


def make_prompt(rule: int, argument: Ints) -> Ints:
    """Tokens of the questions ``rule`` asks about each of the arguments: int64 [P, 2]."""
    word = np.full_like(argument, _FIRST_WORD + rule)
    if RULES[rule].argument == "none":
        return np.stack([np.full_like(argument, _PADDING), word], axis=1)
    return np.stack([word, _FIRST_TOKEN[RULES[rule].argument] + argument], axis=1)


def write_question(rule: int, argument: int) -> tuple[str, str]:
    """A question, and the sentence about the format of its answer."""
    words = RULES[rule]
    text = words.question.format(**_ARGUMENTS[words.argument][argument])
    return text, f"Answer with {KINDS[words.answers][2]} only."


@lru_cache(maxsize=1)
def _questions() -> dict[str, tuple[int, int]]:
    """Rule and argument of every question, by its lower-case text with and without the sentence about the format."""
    questions = {}
    for rule, words in enumerate(RULES):
        for argument in range(len(_ARGUMENTS[words.argument])):
            text, form = write_question(rule, argument)
            questions[text.lower()] = questions[f"{text} {form}".lower()] = (rule, argument)
    return questions


def parse_question(question: str) -> tuple[int, int]:
    """Rule and argument of a question, with or without its introduction and its sentence about the answer's format.

    Raises:
        ValueError: it is none of the questions.
    """
    given = question.strip(" \t\r\n").lower().removeprefix(LAYOUT.lower())
    found = _questions().get(given)
    if found is None:
        known = "; ".join(rule.question for rule in RULES)
        raise ValueError(f"{question!r} is none of the questions; ask one of: {known}")
    return found
