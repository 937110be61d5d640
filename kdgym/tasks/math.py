"""Arithmetic over short digit strings: fourteen skills with real prerequisites.

An item, in base 6: ``In base 6, what is 25 + 43? Answer with the number only.`` with the answer ``112``. The verifier
accepts exactly one numeral (or comparison sign), surrounding blanks aside.

Tokens of a problem, for ``digits=2``: ``a0 a1 b0 b1 c0 c1 op``, least significant digit first, so that carries travel in
reading order; a missing third operand is padding. An answer has ``digits + 1`` tokens. Every table is built by array
arithmetic over all operand tuples at once.

Splits: a hash assigns every unordered *pair* of operands to train, validation or test, once for all skills. A problem
belongs to a split when every pair among its operands does, so neither a commuted sum nor a longer expression carries an
operand pair across.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import SPLITS, Misconception, Pool, SentenceTask, Skill, UnreadableError, pools_of, splits_at

Ints = npt.NDArray[np.int64]
_SIGNS = ("<", "=", ">")


@dataclass(frozen=True)
class _Rule(Skill):
    """A skill with its operator, its text, its answer and the operands it allows; arrays are broadcast over tuples."""

    operator: str = "+"
    template: str = ""
    arity: int = 2
    answer: Callable[..., Ints] = lambda a, b: a + b
    allowed: Callable[..., npt.NDArray[np.bool_]] = lambda a, b, radix: np.ones_like(a, dtype=bool)
    answers: str = "number"  # "number", "sign" or "bit": the answers that make sense


def _no_carry(a: Ints, b: Ints, radix: int) -> npt.NDArray[np.bool_]:
    ok = np.ones_like(a, dtype=bool)
    while a.any() or b.any():
        ok &= a % radix + b % radix < radix
        a, b = a // radix, b // radix
    return ok


def _no_borrow(a: Ints, b: Ints, radix: int) -> npt.NDArray[np.bool_]:
    ok = np.ones_like(a, dtype=bool)
    while a.any() or b.any():
        ok &= a % radix >= b % radix
        a, b = a // radix, b // radix
    return ok


RULES: tuple[_Rule, ...] = (
    _Rule("add_no_carry", "Add two numbers, no digit carries.", (), "+", "what is {a} + {b}", allowed=_no_carry),
    _Rule("add", "Add two numbers.", ("add_no_carry",), "+", "what is {a} + {b}"),
    _Rule("add_three", "Add three numbers.", ("add",), "+", "what is {a} + {b} + {c}", 3, lambda a, b, c: a + b + c,
          lambda a, b, c, radix: np.ones_like(a, dtype=bool)),
    _Rule("sub_no_borrow", "Subtract, no digit borrows.", (), "-", "what is {a} - {b}", 2, lambda a, b: a - b,
          _no_borrow),
    _Rule("sub", "Subtract a number that is not larger.", ("sub_no_borrow",), "-", "what is {a} - {b}", 2,
          lambda a, b: a - b, lambda a, b, radix: a >= b),
    _Rule("add_sub", "Mixed expression: add one number, take another away.", ("add", "sub"), "+-",
          "what is {a} + {b} - {c}", 3, lambda a, b, c: a + b - c, lambda a, b, c, radix: a + b >= c),
    _Rule("compare", "Which relation holds between two numbers.", (), "?",
          "which of <, =, > stands between {a} and {b}", 2, lambda a, b: 1 + np.sign(a - b), answers="sign"),
    _Rule("max", "The larger of two numbers.", ("compare",), "max", "what is max({a}, {b})", 2, np.maximum),
    _Rule("min", "The smaller of two numbers.", ("compare",), "min", "what is min({a}, {b})", 2, np.minimum),
    _Rule("difference", "The absolute difference of two numbers.", ("compare", "sub"), "|-|",
          "what is |{a} - {b}|", 2, lambda a, b: np.abs(a - b)),
    _Rule("parity", "Whether a sum is odd (1) or even (0).", ("add",), "odd",
          "what is ({a} + {b}) mod 2", 2, lambda a, b: (a + b) % 2, answers="bit"),
    _Rule("mul", "Multiply two numbers, product of at most three digits.", ("add",), "*", "what is {a} * {b}", 2,
          lambda a, b: a * b, lambda a, b, radix: a * b < radix**3),
    _Rule("mod", "The remainder of a division.", ("compare", "sub"), "%", "what is {a} mod {b}", 2,
          lambda a, b: a % np.maximum(b, 1), lambda a, b, radix: b > 0),
    _Rule("gcd", "The greatest common divisor.", ("mod",), "gcd", "what is gcd({a}, {b})", 2, np.gcd,
          lambda a, b, radix: a + b > 0),
)  # fmt: skip


def _by_column(combine: Callable[..., Ints]) -> Callable[..., Ints]:
    """An operation done digit by digit, each result cut to one digit."""

    def apply(radix: int, *terms: Ints) -> Ints:
        result, place = np.zeros_like(terms[0]), 1
        while any(term.any() for term in terms):
            result += combine(*(term % radix for term in terms)) % radix * place
            terms, place = tuple(term // radix for term in terms), place * radix
        return result

    return apply


# Wrong rules take the radix and the operands. The first two are among the most frequent "bugs" of Brown and Burton,
# "Diagnostic models for procedural bugs in basic mathematical skills", Cognitive Science 2, 1978.
MISCONCEPTIONS: tuple[Misconception, ...] = (
    Misconception("drops_carries", "Adds digit by digit and drops every carry.",
                  {"add": _by_column(lambda a, b: a + b)}),
    Misconception("smaller_from_larger", "Takes the smaller digit from the larger one, whichever stands where.",
                  dict.fromkeys(("sub", "difference"), _by_column(lambda a, b: np.abs(a - b)))),
    Misconception("swaps_larger_and_smaller", "Takes the larger of two numbers for the smaller one.",
                  {"compare": lambda radix, a, b: 1 - np.sign(a - b), "max": lambda radix, a, b: np.minimum(a, b),
                   "min": lambda radix, a, b: np.maximum(a, b)}),
    Misconception("adds_to_multiply", "Adds the numbers that are to be multiplied.",
                  {"mul": lambda radix, a, b: a + b}),
    Misconception("swaps_dividend_and_divisor", "Divides the second number by the first.",
                  {"mod": lambda radix, a, b: np.where(a > 0, b % np.maximum(a, 1), 0)}),
    Misconception("ignores_third_number", "Leaves out the last of three numbers.",
                  dict.fromkeys(("add_three", "add_sub"), lambda radix, a, b, c: a + b)),
)  # fmt: skip


class Math(SentenceTask):
    """The arithmetic task. See the module's docstring for the format and `kdgym.tasks.base.Task` for the attributes.

    Args:
        radix: base of the numerals, 3 to 10. The smaller it is, the faster a skill is learned.
        digits: digits of an operand, 1 to 3.

    Raises:
        ValueError: ``radix`` or ``digits`` is out of range, or leaves a skill without problems in a split.
    """

    name = "Math"
    version = 0
    misconceptions = MISCONCEPTIONS

    def __init__(self, radix: int = 6, digits: int = 2) -> None:
        if not 3 <= radix <= 10:
            raise ValueError(f"radix is {radix}; choose a base from 3 to 10.")
        if not 1 <= digits <= 3:
            raise ValueError(f"digits is {digits}; choose 1 to 3 digits an operand.")
        self.radix, self.digits = radix, digits
        self.skills: tuple[Skill, ...] = RULES
        self._operators = {op: radix + 1 + i for i, op in enumerate(dict.fromkeys(rule.operator for rule in RULES))}
        self._padding = radix
        first_sign = radix + 1 + len(self._operators)
        self.vocabulary = first_sign + len(_SIGNS)
        width, self._numbers = digits + 1, radix ** (digits + 1)
        numerals = self._digits(np.arange(self._numbers), width)
        signs = np.full((len(_SIGNS), width), self._padding)
        signs[:, 0] = first_sign + np.arange(len(_SIGNS))
        self.answer = torch.from_numpy(np.concatenate([numerals, signs]))
        self._build_problems()

    def _digits(self, value: Ints, width: int) -> Ints:
        return value[..., None] // self.radix ** np.arange(width) % self.radix

    def _split_of_pairs(self) -> Ints:
        """int64 [n, n], symmetric: the split of every unordered pair of operands."""
        n = self.radix**self.digits
        low, high = np.minimum(*np.indices((n, n))), np.maximum(*np.indices((n, n)))
        key = random.fold(torch.tensor(self.version), torch.from_numpy(low * n + high))
        return splits_at(random.uniform(key, 1)[..., 0].numpy())

    def _build_problems(self) -> None:
        pair_split = self._split_of_pairs()
        n = len(pair_split)
        prompts, solutions, operands, counts, answer_pool = [], [], [], [], []
        for rule in RULES:
            terms = np.indices((n,) * rule.arity).reshape(rule.arity, -1)
            splits = np.stack([pair_split[terms[i], terms[j]] for i, j in itertools.combinations(range(rule.arity), 2)])
            keep = rule.allowed(*terms, self.radix) & (splits == splits[0]).all(0)
            order = np.argsort(splits[0][keep], kind="stable")
            terms, split = terms[:, keep][:, order], splits[0][keep][order]
            answers = rule.answer(*terms)
            start, size = {
                "number": (0, int(answers.max()) + 1),
                "bit": (0, 2),
                "sign": (self._numbers, len(_SIGNS)),
            }[rule.answers]
            digits = [self._digits(term, self.digits) for term in terms]
            digits += [np.full_like(digits[0], self._padding)] * (3 - rule.arity)
            operator = np.full((len(answers), 1), self._operators[rule.operator])
            prompts.append(np.concatenate([*digits, operator], axis=1))
            solutions.append(answers + (start if rule.answers == "sign" else 0))
            operands.append(np.pad(terms.T, ((0, 0), (0, 3 - rule.arity)), constant_values=-1))
            counts.append(np.bincount(split, minlength=len(SPLITS)))
            answer_pool.append((start, size))
        count = np.stack(counts)
        if not count.all():
            skill, split_index = np.argwhere(count == 0)[0]
            raise ValueError(
                f"radix={self.radix} with digits={self.digits} leaves the skill {RULES[skill].name} without problems in the "
                f"split {SPLITS[split_index]}; choose more digits or a larger radix."
            )
        self.pools = pools_of(count)
        self.prompt = torch.from_numpy(np.concatenate(prompts))
        self.solution = torch.from_numpy(np.concatenate(solutions))
        self.operands = torch.from_numpy(np.concatenate(operands))
        self.skill_of = torch.from_numpy(np.repeat(np.arange(len(RULES)), count.sum(1)))
        bounds = torch.tensor(answer_pool)
        self.answer_pool = Pool(bounds[:, 0], bounds[:, 1])

    def forms(self) -> Tensor:
        """See `Task.forms`: the unordered pairs of operands."""
        a, b, c = self.operands.T
        pairs = [torch.where(y < 0, y, torch.minimum(x, y) * self._numbers + torch.maximum(x, y))
                 for x, y in ((a, b), (a, c), (b, c))]  # fmt: skip
        return torch.stack(pairs, dim=1)

    def mistaken(self, misconception: Misconception) -> Tensor:
        answer = self.solution.clone()
        for k, rule in enumerate(RULES):
            if rule.name in misconception.wrong:
                here = self.skill_of == k
                wrong = misconception.wrong[rule.name](self.radix, *self.operands[here, : rule.arity].T.numpy())
                answer[here] = torch.from_numpy(wrong) + (self._numbers if rule.answers == "sign" else 0)
        return self.answer[answer]

    def numeral(self, value: int) -> str:
        """``value`` written in this task's base, most significant digit first, without leading zeros."""
        return np.base_repr(value, self.radix)

    def text(self, problem: int) -> str:
        rule = RULES[int(self.skill_of[problem])]
        terms = {name: self.numeral(int(v)) for name, v in zip("abc", self.operands[problem], strict=True) if v >= 0}
        base = "" if self.radix == 10 else f"in base {self.radix}, "
        question = base + rule.template.format(**terms)
        form = "sign" if rule.answers == "sign" else "number"
        return f"{question[0].upper()}{question[1:]}? Answer with the {form} only."

    def answer_text(self, answer: int) -> str:
        return self.numeral(answer) if answer < self._numbers else _SIGNS[answer - self._numbers]

    def verify(self, problem: int, text: str) -> bool:
        given = text.strip(" \t\r\n")
        if re.fullmatch(r"[0-9]+", given, flags=re.ASCII):
            given = given.lstrip("0") or "0"
        return given == self.answer_text(int(self.solution[problem]))

    def plain(self, sentence: str) -> str:
        """Also without the request about the answer and the question mark."""
        return super().plain(re.sub(r"answer with the \w+ only\.?\s*$", "", sentence.lower())).rstrip("? ")

    def write_tokens(self, tokens: Tensor) -> str:
        operators = {token: name for name, token in self._operators.items()}
        signs = {self.vocabulary - len(_SIGNS) + i: sign for i, sign in enumerate(_SIGNS)}
        names = {self._padding: "_", **operators, **signs}
        symbols = "".join(names.get(token, str(token)) for token in reversed(tokens.tolist()))
        return symbols.strip("_").lstrip("0") or "0"

    def read_answer(self, text: str) -> Tensor:
        given = text.strip(" \t\r\n")
        if given in _SIGNS:
            return self.answer[self._numbers + _SIGNS.index(given)]
        digits = "".join(str(digit) for digit in range(self.radix))
        if re.fullmatch(f"[{digits}]{{1,12}}", given) and int(given, self.radix) < self._numbers:
            return self.answer[int(given, self.radix)]
        raise UnreadableError(
            "answer",
            f"{given[:40]!r} is no answer; a numeral in base {self.radix} up to {self.numeral(self._numbers - 1)}, "
            f"or one of {' '.join(_SIGNS)}, is wanted.",
        )
