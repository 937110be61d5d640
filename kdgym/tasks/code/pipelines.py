"""The little language of the Code task: steps, the words that ask for them, and which steps make up a skill.

A program is a pipeline of at most three steps, each one line of Python that replaces ``x``. The same line may serve several
types (``x[:2]``), and the same words may ask for different lines: "add 2" to a number, or to every number of a list.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdgym import random
from kdgym.tasks.base import Misconception, Skill

Ints = npt.NDArray[np.int64]
LENGTH = 3  # steps of a program at most
TYPES = ("integer", "string", "list")  # what a program is given
TYPE_TEXT = ("an integer", "a string", "a list of integers")
NUMBERS = (1, 2, 3)  # arguments of steps
ORDERS = (("then", "next"), ("after", "once"))  # steps in the order they are done; in the opposite order
INPUTS = 16  # hidden inputs of each type


@dataclass(frozen=True)
class Step:
    """One step of a pipeline.

    Attributes:
        group: steps that can stand for one another in a skill.
        words: tokens that ask for it, synonyms of each other.
        argument: a number that goes with the word, or None.
        line: the Python expression that makes the new ``x``.
        text: what is done, in English; ``{items}`` stands for what the value consists of.
    """

    group: str
    words: tuple[str, ...]
    argument: int | None
    line: str
    text: str


# group: (words, expression, English); ``#`` stands for each of NUMBERS.
_STEPS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "arithmetic": (
        ("add plus", "x + #", "add # to it"),
        ("subtract minus", "x - #", "subtract # from it"),
        ("multiply", "x * #", "multiply it by #"),
    ),
    "division": (
        ("divide", "x // #", "divide it by #, rounding down"),
        ("remainder", "x % #", "take its remainder modulo #"),
    ),
    "comparison": (
        ("above", "x > #", "tell whether it is greater than # (True or False)"),
        ("below", "x < #", "tell whether it is less than # (True or False)"),
        ("equal", "x == #", "tell whether it equals # (True or False)"),
    ),
    "choice": (
        ("at-least", "x if x > # else #", "replace it by # if it is less than #"),
        ("at-most", "x if x < # else #", "replace it by # if it is greater than #"),
        ("absolute", "x if x > 0 else -x", "take its absolute value"),
    ),
    "slice": (
        ("take keep", "x[:#]", "keep only its first {# items}"),
        ("drop", "x[#:]", "remove its first {# items}"),
        ("chop", "x[:-#]", "remove its last {# items}"),
        ("reverse flip", "x[::-1]", "reverse it"),
        ("skip", "x[::2]", "keep every second of its {items}, beginning with the first"),
    ),
    "method": (
        ("upper", "x.upper()", "change it to upper case"),
        ("lower", "x.lower()", "change it to lower case"),
        ("swap", "x.swapcase()", "swap upper and lower case"),
        ("strip", "x.strip()", "remove blanks at both ends"),
        ("capital", "x.capitalize()", "capitalise it (first character upper case, all others lower case)"),
    ),
    "order": (
        ("sort", "sorted(x)", "sort it in ascending order"),
        ("sort-down", "sorted(x, reverse=True)", "sort it in descending order"),
    ),
    "item": (
        ("item", "sum(x[#-1:#])", "take item number # counting from 1 (0 if there is none)"),
        ("last", "sum(x[-1:])", "take the last item (0 if there is none)"),
    ),
    "map": (
        ("add plus", "[v + # for v in x]", "add # to every item"),
        ("subtract minus", "[v - # for v in x]", "subtract # from every item"),
        ("multiply", "[v * # for v in x]", "multiply every item by #"),
        ("absolute", "[abs(v) for v in x]", "replace every item by its absolute value"),
    ),
    "filter": (
        ("above", "[v for v in x if v > #]", "keep only the items greater than #"),
        ("below", "[v for v in x if v < #]", "keep only the items less than #"),
        ("even", "[v for v in x if v % 2 == 0]", "keep only the even items"),
        ("odd", "[v for v in x if v % 2 == 1]", "keep only the odd items"),
    ),
    "reduction": (
        ("total", "sum(x)", "add up all items"),
        ("largest", "max(x, default=0)", "take the largest item (0 if there is none)"),
        ("smallest", "min(x, default=0)", "take the smallest item (0 if there is none)"),
        ("length", "len(x)", "count its items"),
    ),
    "size": (("length", "len(x)", "count its characters"),),
    "words": (("words", "x.split()", "split it into a list of words at blanks"),),
    "glue": (("join", "' '.join(x)", "join the strings with single blanks between them"),),
    "print": (("text", "str(x)", "write it as a string"),),
    "digits": (("digits", "[int(c) for c in x if c.isdigit()]", "take the list of its digits, as integers"),),
}


def _all_steps() -> Iterator[Step]:
    for group, rows in _STEPS.items():
        for words, line, text in rows:
            for number in NUMBERS if "#" in line else (None,):
                if number == 1 and words in ("multiply", "divide", "remainder"):
                    continue  # these change nothing, or leave nothing
                some = "{item}" if number == 1 else f"{number} {{items}}"
                yield Step(
                    group,
                    tuple(words.split()),
                    number,
                    line.replace("#-1", str((number or 0) - 1)).replace("#", str(number)),
                    text.replace("{# items}", some).replace("#", str(number)),
                )


STEPS = tuple(_all_steps())
NO_STEP = len(STEPS)  # what programs of fewer than LENGTH steps are filled up with
LINES = tuple(dict.fromkeys(step.line for step in STEPS))  # an answer's tokens, from 1; 0 ends it


@dataclass(frozen=True)
class Kind(Skill):
    """A skill with the type its programs are given and the groups of steps they consist of, one tuple a form."""

    given: str = "integer"
    forms: tuple[tuple[str, ...], ...] = ()


def _forms(*forms: str) -> tuple[tuple[str, ...], ...]:
    """``"a b|c"``: first a step of group a, then one of b or c."""
    return tuple(tuple(choice) for form in forms for choice in itertools.product(*(s.split("|") for s in form.split())))


KINDS: tuple[Kind, ...] = (
    Kind("arithmetic", "Add, subtract and multiply.", (), "integer",
         _forms("arithmetic", "arithmetic arithmetic", "arithmetic arithmetic arithmetic")),
    Kind("division", "Quotients and remainders, mixed with arithmetic.", ("arithmetic",), "integer",
         _forms("division", "division arithmetic", "arithmetic division", "arithmetic division arithmetic")),
    Kind("comparison", "Compare a computed number.", ("arithmetic",), "integer",
         _forms("comparison", "arithmetic|division|choice comparison", "arithmetic division comparison",
                "division arithmetic comparison", "arithmetic arithmetic comparison")),
    Kind("conditional", "Choose between two values.", ("arithmetic", "comparison"), "integer",
         _forms("choice", "choice arithmetic", "arithmetic choice", "arithmetic choice arithmetic")),
    Kind("slicing", "Slices of a string.", (), "string", _forms("slice", "slice slice", "slice slice slice")),
    Kind("methods", "Methods of a string, mixed with slices.", ("slicing",), "string",
         _forms("method", "method slice", "slice method", "slice method slice", "method slice method")),
    Kind("ordering", "Sort, reverse and cut a list.", ("slicing",), "list",
         _forms("order", "slice", "order slice", "slice order", "slice slice order", "order slice slice")),
    Kind("indexing", "One item of a list that was sorted or cut before.", ("ordering",), "list",
         _forms("item", "order item", "slice item", "slice order item", "order slice item", "slice slice item")),
    Kind("mapping", "Compute with every item of a list.", ("arithmetic",), "list",
         _forms("map", "map map", "map map map")),
    Kind("filtering", "Keep some items of a list.", ("comparison",), "list",
         _forms("filter", "filter filter", "filter order|slice", "order|slice filter", "filter filter order|slice")),
    Kind("reduction", "A list to one number, mixed with arithmetic.", ("arithmetic", "division"), "list",
         _forms("reduction", "reduction arithmetic|division|choice", "reduction arithmetic arithmetic")),
    Kind("reduce_after_map", "Compute with every item, then a list to one number.", ("mapping", "reduction"), "list",
         _forms("map reduction", "map map reduction", "map reduction arithmetic")),
    Kind("map_after_filter", "Keep some items and compute with them.", ("mapping", "filtering"), "list",
         _forms("filter map", "map filter", "filter map reduction", "map filter reduction")),
    Kind("conversion", "Strings to lists, numbers to strings, and back.", ("slicing", "methods", "ordering"), "string",
         _forms("words", "digits", "size", "words glue", "words order glue", "words slice glue", "slice|method words",
                "slice words slice", "digits map|filter|reduction|slice|order", "slice digits map|filter|reduction",
                "digits map|filter|slice|order reduction", "size arithmetic|comparison", "size print", "slice size",
                "slice size arithmetic", "digits reduction print", "words order slice")),
)  # fmt: skip


_OPPOSITE = {"above": "below", "below": "above", "at-least": "at-most", "at-most": "at-least"}
Exchange = Callable[[str, int | None], tuple[str, int | None]]


def _further(word: str, number: int | None) -> tuple[str, int | None]:
    return word, number and number + 1


def _opposite(word: str, number: int | None) -> tuple[str, int | None]:
    return _OPPOSITE.get(word, word), number


def _instead(exchange: Exchange, groups: tuple[str, ...], skills: tuple[str, ...]) -> dict[str, Callable[..., Ints]]:
    """In place of the steps of some groups the one with another first word or number, where there is such a step."""
    place = {(step.group, step.words[0], step.argument): i for i, step in enumerate(STEPS)}
    table = np.arange(NO_STEP + 1)
    for i, step in enumerate(STEPS):
        if step.group in groups:
            table[i] = place.get((step.group, *exchange(step.words[0], step.argument)), i)
    return dict.fromkeys(skills, lambda steps, backwards: table[steps])


def _forget_last(steps: Ints, backwards: npt.NDArray[np.bool_]) -> Ints:
    length = (steps != NO_STEP).sum(1, keepdims=True)
    return np.where((np.arange(LENGTH) == length - 1) & (length > 1), NO_STEP, steps)


def _as_told(steps: Ints, backwards: npt.NDArray[np.bool_]) -> Ints:
    place = np.arange(LENGTH)
    mirrored = (steps != NO_STEP).sum(1, keepdims=True) - 1 - place
    return np.take_along_axis(steps, np.where(backwards[:, None] & (mirrored >= 0), mirrored, place), axis=1)


# Wrong rules take the steps of programs, int64 [n, LENGTH], and whether they are told in the opposite order, and return steps.
MISCONCEPTIONS: tuple[Misconception, ...] = (
    Misconception("off_by_one", "Cuts strings and lists one further than told, and counts items from 0.",
                  _instead(_further, ("slice", "item"), ("slicing", "ordering", "indexing"))),
    Misconception("swaps_branches", "Takes the other branch of a conditional.",
                  _instead(_opposite, ("choice",), ("conditional",))),
    Misconception("swaps_above_and_below", "Confuses greater and less in comparisons and filters.",
                  _instead(_opposite, ("comparison", "filter"), ("comparison", "filtering", "map_after_filter"))),
    Misconception("forgets_last_step", "Leaves out the last step of a program.",
                  dict.fromkeys(("mapping", "methods", "reduce_after_map"), _forget_last)),
    Misconception("takes_steps_as_told", "Does the steps in the order in which they are told, whatever comes before what.",
                  dict.fromkeys(("arithmetic", "division", "slicing"), _as_told)),
)  # fmt: skip

_CHARACTERS = "abcXYZ 0123 "


def hidden_inputs(version: int) -> tuple[tuple[Any, ...], ...]:
    """For every type the inputs all its programs are tried on: edge cases first, the others by a hash of ``version``."""
    key = torch.tensor(version)
    integers = [0, 1, 2, 3, 4, -1, -2, -4, 6, 8]
    lists: list[list[int]] = [[], [1], [2, 3, 1, 2], [-3, 0, 4]]
    strings = ["", " ", "a", " Ab 12c "]
    integers += (random.integers(random.fold(key, 0), INPUTS - len(integers), 60) - 25).tolist()
    for i in range(INPUTS - len(lists)):
        size = 4 + i % 5
        lists.append((random.integers(random.fold(key, 1, i), size, 16) - 6).tolist())
    for i in range(INPUTS - len(strings)):
        letters = random.integers(random.fold(key, 2, i), 6 + i, len(_CHARACTERS)).tolist()
        strings.append("".join(_CHARACTERS[letter] for letter in letters))
    return tuple(integers), tuple(strings), tuple(lists)


def english(steps: Sequence[Step], given: str) -> list[str]:
    """What each of a pipeline's steps does, where ``given`` is the type of the program's input."""
    item, parts = "character" if given == "string" else "item", []
    for step in steps:
        parts.append(step.text.replace("{item}", item).replace("{items}", f"{item}s"))
        if step.group in ("words", "digits", "glue"):
            item = "character" if step.group == "glue" else "item"
    return parts


def source(lines: list[str]) -> str:
    """The program of a pipeline."""
    return "\n".join(["def f(x):", *(f"    x = {line}" for line in lines), "    return x", ""])
