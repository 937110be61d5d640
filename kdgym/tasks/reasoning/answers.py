"""Which answers to reasoning-gym's problems are right: exactly.

The scorers that come with the datasets pay for texts that merely contain the answer, for near misses and for nonsense around
it, and some evaluate what they are given as Python. Here an answer is right if it is the dataset's own answer: the same
text, but for blanks at the ends of lines and empty lines around it, or the same number where the answer is a decimal
numeral in ASCII digits.

Some problems have several right answers: a sum that makes 24, a colouring, a way out. An answer to one of `OPEN` is also right
if all of it has the form that the problem asks for (a regular expression, so nothing is hidden in it and nothing in it can be
executed) and solves the problem: by an exact evaluation in fractions, or by the dataset's scorer saying exactly 1.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from kdgym.tasks.reasoning.worker import tidy

_NUMERAL = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?")
_LONGEST = 20_000  # characters of an answer
_WORDS = r'"[a-z]+"'
_SUM = r"[0-9+\-*/() ]{1,200}"
# Datasets whose problems have several right answers, and the form of those.
OPEN: dict[str, str] = {
    "countdown": _SUM,
    "cryptarithm": r"[A-Z]=[0-9](,[A-Z]=[0-9]){0,9}",
    "graph_color": r'\{"[0-9]{1,4}": [0-9]{1,4}(, "[0-9]{1,4}": [0-9]{1,4})*\}',
    "group_anagrams": rf"\[\[{_WORDS}(, {_WORDS})*\](, \[{_WORDS}(, {_WORDS})*\])*\]",
    "jugs": r'\["(fill|empty|pour) [A-Z](->[A-Z])?"(, "(fill|empty|pour) [A-Z](->[A-Z])?")*\]',
    "kakurasu": r"[01]( [01])*(\n[01]( [01])*)*",
    "knight_swap": r'\["[wB],[A-Z][0-9],[A-Z][0-9]"(, "[wB],[A-Z][0-9],[A-Z][0-9]")*\]',
    "n_queens": r"[_Q]( [_Q])*(\n[_Q]( [_Q])*)*",
    "palindrome_generation": r"[a-z]+",
    "palindrome_partitioning": rf"\[\[{_WORDS}(, {_WORDS})*\](, \[{_WORDS}(, {_WORDS})*\])*\]",
    "propositional_logic": r"[A-Z∧∨¬→↔() ]{1,200}",  # noqa: RUF001
    "puzzle24": _SUM,
    "quantum_lock": r"[ABC]( → [ABC])*",
    "rubiks_cube": r"[FBLRUD]'?( [FBLRUD]'?)*",
    "shortest_path": r"(left|right|up|down)( (left|right|up|down))*",
    "sokoban": r"[LRUD]+",
    "tower_of_hanoi": r"Move disk [0-9]+ from Peg [0-9]+ to Peg [0-9]+"
    r"(\nMove disk [0-9]+ from Peg [0-9]+ to Peg [0-9]+)*",
    "word_ladder": r"[A-Z]+(,[A-Z]+)+",
}
# Datasets that cannot be taught, and why.
UNSUPPORTED = {
    "boxnet": "its items come without an answer to learn from",
    "composite": "it only mixes other datasets; name those",
    "rush_hour": "its items come without an answer to learn from",
}


class Verifier:
    """The verifier of one dataset.

    Args:
        dataset: its name.
        settings: its settings; some scorers look at them.
    """

    def __init__(self, dataset: str, settings: dict[str, Any]) -> None:
        self._form = re.compile(OPEN[dataset]) if dataset in OPEN else None
        self._solves = _makes_target if dataset in ("countdown", "puzzle24") else _scorer(dataset, settings)

    def is_right(self, given: str, answer: str, metadata: str) -> bool:
        """Whether ``given`` is right where the dataset's own answer is ``answer``; ``metadata`` is JSON."""
        if len(given) > _LONGEST:
            return False
        given = _without_margin(given)
        if given == _without_margin(answer) or (_NUMERAL.fullmatch(given) and _same_number(given, answer.strip())):
            return True
        if self._form is None or self._form.fullmatch(given) is None:
            return False
        return self._solves(given, answer, json.loads(metadata))


def _without_margin(text: str) -> str:
    return tidy(text).strip(" \t")


def _same_number(given: str, answer: str) -> bool:
    return _NUMERAL.fullmatch(answer) is not None and Decimal(given) == Decimal(answer)


def _makes_target(given: str, _: str, metadata: dict[str, Any]) -> bool:
    """Whether an arithmetic expression has the target value and uses exactly the numbers given, each once."""
    numbers = sorted(map(int, re.findall(r"[0-9]+", given)))
    if numbers != sorted(metadata["numbers"]):
        return False
    try:
        return bool(_value(ast.parse(given.strip(), mode="eval").body) == metadata.get("target", 24))
    except (SyntaxError, ZeroDivisionError):
        return False


def _value(node: ast.expr) -> Fraction:
    """Exact value of an expression in + - * / and brackets.

    Raises:
        SyntaxError: there is anything else in it.
    """
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left) + _value(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _value(left) - _value(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _value(left) * _value(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _value(left) / _value(right)
    raise SyntaxError(f"{ast.unparse(node)!r} is no sum of the kind asked for.")


def _scorer(dataset: str, settings: dict[str, Any]) -> Callable[[str, str, dict[str, Any]], bool]:
    def solves(given: str, answer: str, metadata: dict[str, Any]) -> bool:
        entry = {"question": "", "answer": answer, "metadata": metadata}
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # some print what they think of an answer
                return bool(_dataset(dataset, json.dumps(settings)).score_answer(given, entry) == 1.0)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return False  # scorers do not check everything that they are given

    return solves


@lru_cache(maxsize=128)
def _dataset(dataset: str, settings: str) -> Any:
    from reasoning_gym import create_dataset

    return create_dataset(dataset, **json.loads(settings), seed=0)
