"""Which answers to CHAMP's problems are right: a frozen verifier in two halves, the form and the value.

Only the form of a final answer is taken: one number or formula, or one word, after the last ``Answer:`` or, where nobody wrote
that, alone on the last line. Nothing is searched for in prose, so ``not 239`` and ``238 or 239`` are no answers. The value of a
formula is compared by math-verify (Hugging Face; SymPy underneath), exactly: a rounded decimal is not a root.

What SymPy cannot compare in reasonable time (towers of powers, factorials of factorials) is refused before it is asked, by
what stands in the formula and not by a clock, so that verdicts are the same on every machine.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

WORDS = ("Yes", "No", "None")
_MARKER = re.compile(r"answer\s*:", re.IGNORECASE)
_MOST = 80  # characters of an answer
_LARGEST, _LARGEST_POWER = 9999, 12  # number in a factorial, binomial or power; power of something with letters
_COMMANDS = ("sqrt", "frac", "dfrac", "tfrac", "binom", "floor", "lfloor", "rfloor", "cdot", "times", "C")
logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that no time limit is set; `_tame` is in its place
_SYMBOLS = re.compile(r"[-0-9A-Za-z+*/^!(){}\\., ]+")


def final_answer(text: str) -> str:
    """What a text gives as its answer, without the marker, dollars, a box or the full stop; empty if there is none."""
    parts = _MARKER.split(text)
    lines = [line for line in parts[-1].strip().splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[0 if len(parts) > 1 else -1].strip().strip("*").rstrip(".").strip()
    for left, right in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), (r"\boxed{", "}")):
        if line.startswith(left) and line.endswith(right) and len(line) > len(left) + len(right):
            line = line[len(left) : -len(right)].strip().rstrip(".").strip()
    return line


def listed_answer(raw: str) -> str | None:
    """CHAMP's own answer as one number, formula or word; None where it is a list, a sentence or a relation.

    Args:
        raw: as in the data: formulas between ``@@``, often with other ways of saying the same.
    """
    raw = raw.replace("\N{MINUS SIGN}", "-")
    if re.match(r"No (?:such|(?:positive )?integer|possible) \w+$", raw):
        return "None"
    raw = re.sub(
        r"^(?:The limit exists and is equal to|The only possible value for the limit is|At (?:least|most)) ", "", raw
    )
    for way in re.split(r", or (?:equivalently )?", raw):
        bare = re.sub(r" is the only possible value$|(?<=\S) \(.*\)$", "", way)
        bare = re.sub(r"^(-?\d+|@@[^@ ]+@@)(?: [a-z-]+)+$", r"\1", bare).replace("@@", "")
        letters = set(re.findall(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z(])", bare))
        if bare in WORDS or expression(bare, frozenset(letters)) is not None:
            return bare
    return None


def is_right(given: str, listed: str) -> bool:
    """Whether a text's final answer is the listed one."""
    answer = final_answer(given)
    if listed in WORDS:
        return answer.casefold() == listed.casefold()
    return len(answer) <= _MOST and _equal(answer, listed)


@lru_cache(maxsize=65536)
def _equal(given: str, listed: str) -> bool:
    from math_verify import verify

    gold = expression(listed, frozenset(re.findall(r"[A-Za-z]", listed)))
    answer = expression(given, frozenset(map(str, gold.free_symbols)))
    if answer is None:
        return False
    # In threads, and without a clock: no time limits; `expression` has refused what would need one.
    return bool(verify([gold], [answer], float_rounding=15, numeric_precision=30, strict=True, timeout_seconds=None))


def expression(text: str, letters: frozenset[str]) -> Any:
    """A formula in plain or LaTeX notation as SymPy's, unevaluated; None where it is none, or not one that can be compared.

    Args:
        text: the formula.
        letters: variables that may stand in it.
    """
    from math_verify import LatexExtractionConfig, parse

    words = re.findall(r"[A-Za-z]+", text)
    unknown = [word for word in words if word not in _COMMANDS and not set(word) <= letters]
    lists = re.sub(r"C\([^()]*\)|\\binom", "", text).count(",") or re.search(r"\d\s+\d|\.\.|\.\d{10}|!!", text)
    growing = re.search(r"\^|!|binom|C\(", text)
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    too_large = numbers and max(numbers) > (_LARGEST if growing else 10**20)
    if not _SYMBOLS.fullmatch(text) or unknown or lists or too_large:
        return None
    options = {"fallback_mode": "no_fallback", "parsing_timeout": None}
    found = parse(f"${_latex(text)}$", extraction_config=[LatexExtractionConfig()], **options)
    return found[0] if found and hasattr(found[0], "free_symbols") and _tame(found[0]) else None


def _latex(text: str) -> str:
    r"""``C(n, 2)*2^(n-1)`` as ``\binom{n}{2}\cdot 2^{n-1}``; LaTeX stays as it is."""
    text = text.replace(r"\left", "").replace(r"\right", "")
    text = re.sub(r"(?<![A-Za-z\\])C\(([^(),]+),([^(),]+)\)", r"\\binom{\1}{\2}", text)
    text = re.sub(r"(?<![A-Za-z\\])floor\(([^()]+)\)", r"\\lfloor \1\\rfloor ", text)
    for _ in range(3):  # roots and powers within each other
        text = re.sub(r"(?<![A-Za-z\\])sqrt\(([^()]+)\)", r"\\sqrt{\1}", text)
        text = re.sub(r"\^\(([^()]+)\)", r"^{\1}", text)
    text = re.sub(r"\^(\\lfloor.*?\\rfloor|-?\d+)", r"^{\1}", text)
    return re.sub(r"\*", r"\\cdot ", text)


def _tame(expression: Any) -> bool:
    """Whether comparing a formula is a matter of milliseconds."""
    from sympy import Pow, factorial, preorder_traversal

    for node in preorder_traversal(expression):
        inside = [part for part in preorder_traversal(node) if part is not node and _grows(part)]
        if isinstance(node, factorial) and inside:
            return False
        if isinstance(node, Pow) and _grows(node):
            base, power = node.args
            if any(part in inside for part in preorder_traversal(power)) or (inside and not node.free_symbols):
                return False
            if base.free_symbols and _size(power) > _LARGEST_POWER:
                return False
    return True


def _grows(node: Any) -> bool:
    """Powers and factorials, but for roots, fractions and powers of 0, 1 or -1."""
    from sympy import Pow, factorial

    if isinstance(node, Pow):
        base, power = node.args
        return bool(power.free_symbols or _size(power) > 1) and base not in (0, 1, -1)
    return isinstance(node, factorial)


def _size(power: Any) -> float:
    """Magnitude of a number, infinite where it has none; 0 of what has letters."""
    if power.free_symbols:
        return 0.0
    value = abs(power.doit())
    return float(value) if value.is_finite else float("inf")
