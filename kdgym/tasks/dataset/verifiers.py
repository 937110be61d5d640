"""Which answers to an item of a data set are right. A verifier also says whether it can use an item at all.

Of a language model's answer the part after the last ``Answer:`` counts, or else the last line; see
`kdgym.tasks.champ.answers.final_answer`. Of a program the first fenced block counts, or else all of it.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from fractions import Fraction
from string import ascii_uppercase
from typing import Any

from kdgym.tasks.champ.answers import WORDS, expression, final_answer, is_right
from kdgym.tasks.code.task import LONGEST, program_in
from kdgym.tasks.dataset.reading import Row, text_of

_NUMBER = re.compile(
    r"(?ai)\$?([+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,400})(?:\.\d{1,400})?(?:e[+-]?\d{1,3})?)(?:/(\d{1,400}))?"
)


class UnusableError(ValueError):
    """An item that cannot be taught; the message is the reason, in few words."""


class Verifier:
    """``exact``: the listed text, as it stands but for blanks around it.

    Attributes:
        request: what is asked for behind a problem.
        is_open: whether other answers than the listed one may be right.
    """

    request = "\n\nReply with the answer only."
    is_open = False

    def pose(self, problem: str, row: Row) -> str:
        """The problem as it is shown; ``row`` has all columns of the item, also under the names that kdgym gives them."""
        return problem

    def listed(self, row: Row) -> str:
        """The right answer as text; its cell is not empty.

        Raises:
            UnusableError: it cannot be verified.
        """
        return text_of(row["answer"])

    def is_right(self, given: str, listed: str, row: Row) -> bool:
        """Whether a text is a right answer where ``listed`` is the one of the data set."""
        final = final_answer(given)
        return given.strip() == listed or (final != "" and final in (listed, listed.removesuffix(".")))


class Numeric(Verifier):
    """``numeric``: one number of the same value: decimal or fraction, with commas between thousands or a dollar in front."""

    def is_right(self, given: str, listed: str, row: Row) -> bool:
        """See `Verifier.is_right`; no number is right where none is listed."""
        value = _number(final_answer(given))
        return value is not None and value == _number(listed)


def _number(text: str) -> Fraction | None:
    found = _NUMBER.fullmatch(text)
    if found is None or int(found[2] or 1) == 0:
        return None
    return Fraction(found[1].replace(",", "")) / int(found[2] or 1)


class MathVerify(Verifier):
    """``math-verify``: one number, formula or word of the same value, as for `kdgym.tasks.champ.answers`."""

    is_open = True

    def listed(self, row: Row) -> str:
        """See `Verifier.listed`."""
        listed = final_answer(text_of(row["answer"]))
        letters = frozenset(re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z(])", listed))
        if listed not in WORDS and expression(listed, letters) is None:
            raise UnusableError("the answer is not one number, formula or word that can be compared")
        return listed

    def is_right(self, given: str, listed: str, row: Row) -> bool:
        """See `Verifier.is_right`."""
        return is_right(given, listed)


class Choice(Verifier):
    """``choice``: the letter of the right option, or its text. The answer is a letter, a label, a text, or a place from 0."""

    request = "\n\nReply with the letter only."

    def pose(self, problem: str, row: Row) -> str:
        """See `Verifier.pose`."""
        return "\n".join([problem, *map("{}) {}".format, ascii_uppercase, _options(row.get("choices"))[0])])

    def listed(self, row: Row) -> str:
        """See `Verifier.listed`."""
        (options, labels), answer = _options(row.get("choices")), text_of(row["answer"])
        place = row["answer"] if type(row["answer"]) is int and answer not in labels else -1
        found = [names.index(answer) for names in (labels, options) if answer in names] if place < 0 else [place]
        if not found or found[0] >= len(options):
            raise UnusableError("the answer is none of the choices")
        return ascii_uppercase[found[0]]

    def is_right(self, given: str, listed: str, row: Row) -> bool:
        """See `Verifier.is_right`."""
        said, right = final_answer(given), _options(row.get("choices"))[0][ascii_uppercase.index(listed)]
        return said in (right, f"{listed}) {right}") or re.sub(r"^\(|[).]*$", "", said).upper() == listed


def _options(choices: Any) -> tuple[list[str], list[str]]:
    """Texts and labels of the options: a list, or Hugging Face's ``{"text": [...], "label": [...]}``."""
    given = choices if isinstance(choices, dict) else {"text": choices}
    options = [text_of(text) for text in given["text"]] if isinstance(given.get("text"), list) else []
    labels = [text_of(label) for label in given.get("label") or ascii_uppercase[: len(options)]]
    if not 2 <= len(options) == len(labels) <= len(ascii_uppercase) or len({*options, ""}) <= len(options):
        raise UnusableError("the choices are no list of 2 to 26 different texts")
    return options, labels


class UnitTests(Verifier):
    """``unit-tests``: a Python program that passes all tests, in the sandbox. Tests are lines ``assert f(1, [2]) == 3``.

    Arguments and results are numbers, texts, None, lists and tuples. Results are compared outside of the sandbox.
    """

    request = "\n\nReply with the Python code only."
    is_open = True

    def __init__(self) -> None:
        from kdgym.sandbox import Sandbox

        self._sandbox = Sandbox()

    def is_right(self, given: str, listed: str, row: Row) -> bool:
        """See `Verifier.is_right`."""
        name, inputs, expected = _read_tests(row.get("tests"))
        program = f"{program_in(given)}\n\n_tested = {name}\n\ndef f(arguments):\n    return _tested(*arguments)\n"
        return len(given) <= LONGEST and self._sandbox.run([program], [inputs])[0] == expected


def _read_tests(tests: Any) -> tuple[str, list[Any], list[Any]]:
    """The function that is called, the arguments of every call, and what it returns."""
    from kdgym.sandbox import is_plain

    calls: list[tuple[str, Any, Any]] = []
    try:
        for statement in ast.parse("\n".join(tests) if isinstance(tests, list) else tests).body:
            match statement:
                case ast.Assert(ast.Compare(ast.Call(ast.Name(name), arguments, []), [ast.Eq()], [result])):
                    calls.append((name, tuple(map(ast.literal_eval, arguments)), ast.literal_eval(result)))
                case _:
                    raise ValueError(ast.unparse(statement))
        names, inputs, expected = map(list, zip(*calls, strict=True))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        raise UnusableError("the tests are not lines of the form assert f(1, [2]) == 3") from None
    if len(set(names)) != 1 or not is_plain([inputs, expected]):
        raise UnusableError("the tests do not call one function on numbers, texts, lists and tuples")
    return names[0], inputs, expected


class OwnFunction(Verifier):
    """A function that gets the answer given, the one listed and the row, and says whether it is right.

    Args:
        decide: the function.
    """

    is_open = True

    def __init__(self, decide: Callable[[str, str, Row], bool]) -> None:
        self._decide = decide

    def is_right(self, given: str, listed: str, row: Row) -> bool:
        """See `Verifier.is_right`."""
        return bool(self._decide(given, listed, row))


VERIFIERS: dict[str, type[Verifier]] = {"exact": Verifier, "numeric": Numeric, "math-verify": MathVerify}
VERIFIERS |= {"choice": Choice, "unit-tests": UnitTests}


def make_verifier(wanted: str) -> Verifier:
    """The verifier of that name, or of the function ``module:function``.

    Raises:
        ValueError: there is none.
    """
    if wanted in VERIFIERS:
        return VERIFIERS[wanted]()
    module, _, function = wanted.partition(":")
    try:
        return OwnFunction(getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(VERIFIERS)
        raise ValueError(
            f"There is no verifier {wanted!r} ({error}); choose from {known}, or give module:function."
        ) from None
