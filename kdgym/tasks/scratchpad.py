"""Arithmetic in several steps, with the intermediate results written down.

An item: ``37 + 8 - 6`` with the answer ``+8=45;-6=39.``, a scratchpad whose every step repeats the operator and the operand
it uses. The verifier looks at the last number alone. A student that writes ``39.`` without any step is right too.

Tokens of a problem, for three steps: ``a0 a1 op x op x op x``, units before tens; missing steps are padding. A step of the
scratchpad is ``; op x r0 r1``, and ``.`` ends it. A teacher may write ``?`` for the ``;`` before a step (see `kdgym.tasks.
feedback`); students have read that in a tenth of the steps of their pretraining, as language models have read corrections.

Skills: one, two, three, ... steps, either without any carry or borrow, or with at least one.

Splits: in version 0 a hash assigns every *opening* (first number and first step) to train, validation or test, once for all
skills, so that no problem continues, or is continued by, one of another split. But ``37 + 8 - 6`` and ``37 - 6 + 8`` may be in
different splits. In version 1 the *first number* decides. A number of one digit may trade places with a step's, so problems
that begin with one are for training; the others keep their first number in any order of their steps.
"""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import SPLITS, Pool, SentenceTask, Skill, UnreadableError, pools_of, splits_at

Ints = npt.NDArray[np.int64]
STEP = 5  # tokens: ";", operator, operand, units, tens
ERRORS = ("malformed", "operator", "copy", "sum", "carry")
_MOST = 4096  # problems of a skill and split
_MARKED = 0.1  # share of the steps of a pretraining item that carry a mark
_NAMES = ("one", "two", "three", "four")


class Scratchpad(SentenceTask):
    """The task. See the module's docstring for the format and `kdgym.tasks.base.Task` for the attributes.

    Args:
        radix: base of the numerals, 4 to 10.
        steps: most steps of a problem, 1 to 4.
        version: of the splits: 1, or 0, whose held-out problems have reordered twins in train. Settings without it, as those of
            ``-v0`` ids and of what was saved under them, mean 0.

    Attributes:
        number_of_steps: int64 [P].

    Raises:
        ValueError: ``radix``, ``steps`` or ``version`` is out of range.
    """

    name = "Scratchpad"
    free_form = True

    def __init__(self, radix: int = 10, steps: int = 3, version: int = 0) -> None:
        if not 4 <= radix <= 10:
            raise ValueError(f"radix is {radix}; choose a base from 4 to 10.")
        if not 1 <= steps <= len(_NAMES):
            raise ValueError(f"steps is {steps}; choose 1 to {len(_NAMES)} steps.")
        if version not in (0, 1):
            raise ValueError(f"version is {version}; choose 1, or 0 for splits with twins.")
        self.version = version
        self.radix, self.steps = radix, steps
        self.plus, self.minus, self.following, self.mark, self.end, self.padding = range(radix, radix + 6)
        self.vocabulary = radix + 6
        self._symbols = [*map(str, range(radix)), "+", "-", ";", "?", ".", "_"]
        self.skills = tuple(
            Skill(f"{_NAMES[n]}_{kind}", f"{_NAMES[n].title()} step{'s' if n else ''}, {text}.", earlier)
            for n in range(steps)
            for kind, text, earlier in (
                ("easy", "no carry and no borrow", (f"{_NAMES[n - 1]}_easy",) if n else ()),
                ("hard", "with a carry or a borrow", (f"{_NAMES[n]}_easy",)),
            )
        )
        self._build()

    # --- the tables ----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        parts = [self._problems(n) for n in range(1, self.steps + 1)]
        order, counts = [], []
        for values, changes, split in parts:
            hard = (values // self.radix)[:, 1:] != (values // self.radix)[:, :-1]
            for wanted in (False, True):
                chosen = [
                    self._some((split == i) & (hard.any(1) == wanted), values, changes) for i in range(len(SPLITS))
                ]
                counts.append([len(ids) for ids in chosen])
                order.append((values, changes, np.concatenate(chosen)))
        count = np.array(counts)
        self.pools = pools_of(count)
        tables = [self._tokens(values[ids], changes[ids]) for values, changes, ids in order]
        self.prompt = torch.from_numpy(np.concatenate([prompt for prompt, _ in tables]))
        clean = torch.from_numpy(np.concatenate([answer for _, answer in tables]))
        self.number_of_steps = (clean == self.following).sum(1)
        self.skill_of = torch.from_numpy(np.repeat(np.arange(len(self.skills)), count.sum(1)))
        self.answer, self.solution = clean, torch.arange(len(clean))
        self.answer_pool = Pool(self.pools["train"].start, torch.from_numpy(count.sum(1)))

    def _problems(self, n: int) -> tuple[Ints, Ints, Ints]:
        """All problems of n steps: the running value [N, n + 1], the signed operands [N, n], and the split [N]."""
        size = self.radix**2
        steps = np.concatenate([np.arange(1 - self.radix, 0), np.arange(1, self.radix)])
        values, changes = np.arange(size)[:, None], np.zeros((size, 0), dtype=np.int64)
        for _ in range(n):
            following = (values[:, -1:] + steps).ravel()
            values, changes = values.repeat(len(steps), axis=0), changes.repeat(len(steps), axis=0)
            values = np.column_stack([values, following])
            changes = np.column_stack([changes, np.resize(steps, len(values))])
            inside = (following >= 0) & (following < size)
            values, changes = values[inside], changes[inside]
        return values, changes, splits_at(self._place(values[:, 0], changes[:, 0]))

    def _place(self, first: Ints, change: Ints) -> npt.NDArray[np.float64]:
        """Places in [0, 1) that decide the splits of problems with these first numbers and first steps, [N]."""
        size, key = self.radix**2, torch.tensor(self.version)
        if self.version == 0:
            return random.uniform(random.fold(key, torch.from_numpy(first * size + change + size)), 1)[:, 0].numpy()
        chance = random.uniform(key, size).numpy()
        chance[: self.radix] = 0  # of one digit: for training
        return (chance.argsort(kind="stable").argsort()[first] + 0.5) / size

    def _some(self, among: npt.NDArray[np.bool_], values: Ints, changes: Ints) -> Ints:
        """At most `_MOST` of the problems ``among``, by a hash of what they ask."""
        ids = np.flatnonzero(among)
        key = random.fold(torch.tensor(self.version + 1), torch.from_numpy(values[ids, 0]))
        for column in changes[ids].T:
            key = random.fold(key, torch.from_numpy(column.copy()))
        return np.sort(ids[np.argsort(key.numpy(), kind="stable")[:_MOST]])

    def _tokens(self, values: Ints, changes: Ints) -> tuple[Ints, Ints]:
        """Prompts [N, T] and clean answers [N, A]."""
        n = changes.shape[1]
        operator = np.where(changes > 0, self.plus, self.minus)
        prompt = np.full((len(values), 2 + 2 * self.steps), self.padding)
        prompt[:, 0], prompt[:, 1] = values[:, 0] % self.radix, values[:, 0] // self.radix
        prompt[:, 2 : 2 + 2 * n : 2], prompt[:, 3 : 3 + 2 * n : 2] = operator, np.abs(changes)
        answer = np.full((len(values), STEP * self.steps + 1), self.end)
        units, tens = values[:, 1:] % self.radix, values[:, 1:] // self.radix
        for i, column in enumerate((np.full_like(operator, self.following), operator, np.abs(changes), units, tens)):
            answer[:, i : STEP * n : STEP] = column
        return prompt, answer

    def forms(self) -> Tensor:
        """See `Task.forms`: how many steps there are, the first number and all of them, in any order."""
        sign = (self.prompt[:, 2::2] == self.plus).long() - (self.prompt[:, 2::2] == self.minus).long()
        first = self.prompt[:, :1] + self.radix * self.prompt[:, 1:2]
        terms = torch.cat([first, sign * self.prompt[:, 3::2]], dim=1).sort(dim=1).values + self.radix
        written = torch.cat([terms, self.number_of_steps[:, None]], dim=1)
        return (written * (self.radix**3) ** torch.arange(written.shape[1])).sum(1, keepdim=True)

    # --- what students write -------------------------------------------------------------------------------------

    def length(self, tokens: Tensor) -> Tensor:
        """Tokens written up to the first ``.``, which counts; all of them where there is none: [..., A] -> [...]."""
        ended = (tokens == self.end).cumsum(-1) > 0
        return (tokens.shape[-1] - ended.sum(-1) + 1).clamp_max(tokens.shape[-1])

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """Whether the two digits before the first ``.`` are the result; see `Task.judge`."""
        last = (tokens == self.end).cumsum(-1).eq(0).sum(-1)  # place of the first ".", or A where there is none
        ended = (last < tokens.shape[-1]) & (last >= 2)
        place = torch.stack([last - 2, last - 1], dim=-1).clamp(0, tokens.shape[-1] - 1)
        return ended & (tokens.gather(-1, place) == self._result.to(tokens.device)[problem]).all(-1)

    @cached_property
    def _result(self) -> Tensor:
        """Units and tens of every problem's result, int64 [P, 2]."""
        return self.answer.gather(1, STEP * self.number_of_steps[:, None] + torch.tensor([-2, -1]))

    def careless(self, problem: Tensor, key: Tensor, rates: Tensor) -> Tensor:
        """Solutions as a careless person writes them: each step may go wrong, and what follows goes on from there.

        Args:
            problem: int64 [..., n].
            key: of the random numbers, int64, broadcasts against ``problem``.
            rates: how often a step has the wrong operator, a wrong operand, wrong units, and forgets its carry, [..., n, 4].

        Returns:
            Tokens int64 [..., n, A]; a tenth of the steps are marked, whether right or wrong.
        """
        tokens = self.answer.to(problem.device)[problem]
        prompt = self.prompt.to(problem.device)[problem]
        units, tens = prompt[..., 0], prompt[..., 1]
        steps = self.number_of_steps.to(problem.device)[problem]
        for i in range(self.steps):
            draw = random.uniform(random.fold(key, i, problem), 5)
            wrong = draw[..., :4] < rates
            plus, operand = prompt[..., 2 + 2 * i] == self.plus, prompt[..., 3 + 2 * i]
            plus = plus ^ wrong[..., 0]
            operand = torch.where(wrong[..., 1], operand % (self.radix - 1) + 1, operand)
            total = units + torch.where(plus, operand, -operand)
            units = (total + wrong[..., 2].long()) % self.radix
            carry = torch.div(total, self.radix, rounding_mode="floor")
            tens = (tens + torch.where(wrong[..., 3], 0, carry)) % self.radix
            separator = torch.where(draw[..., 4] < _MARKED, self.mark, self.following)
            step = torch.stack([separator, torch.where(plus, self.plus, self.minus), operand, units, tens], dim=-1)
            place = tokens[..., STEP * i : STEP * (i + 1)]
            place.copy_(torch.where((i < steps).unsqueeze(-1), step, place))
        return tokens

    @cached_property
    def faulty(self) -> Tensor:
        """Solutions with one kind of mistake in every step it can be made in, int64 [4, P, A]: see `careless`."""
        problems, key = torch.arange(len(self.solution)), torch.zeros(1, dtype=torch.int64)
        written = torch.stack([self.careless(problems, key, rates) for rates in torch.eye(4)])
        return torch.where(written == self.mark, self.following, written)

    def first_error(self, problem: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Where an attempt first departs from the solution, and how.

        Args:
            problem: int64 [...].
            tokens: int64 [..., A].

        Returns:
            Place of the first wrong token, int64 [...], A where there is none (a mark counts as ``;``); and the kind of error,
            index into `ERRORS`, int64 [...]: wrong operator (also a sum computed with the other one), wrong copy of the
            operand, wrong units, wrong tens, or a token that cannot stand there.
        """
        right = self.answer.to(tokens.device)[problem]
        read, place = torch.where(tokens == self.mark, self.following, tokens), self.departure(tokens, right)
        at = place.clamp_max(tokens.shape[-1] - 1).unsqueeze(-1)
        written, slot = read.gather(-1, at).squeeze(-1), place % STEP
        digit = written < self.radix
        operator = (written == self.plus) | (written == self.minus)
        fits = torch.where(slot == 1, operator, digit & (slot > 1)) & (right.gather(-1, at).squeeze(-1) != self.end)
        kind = torch.where(fits, slot, 0)
        swapped = (kind == 3) & (written == self._other_units(right, at))
        return place, torch.where(swapped, 1, kind)

    def departure(self, tokens: Tensor, solution: Tensor) -> Tensor:
        """Place of the first token of an attempt that is not a solution's, A where there is none: int64 [..., A] -> [...]."""
        read = torch.where(tokens == self.mark, self.following, tokens)
        return ((read != solution).cumsum(-1) == 0).sum(-1)

    def _other_units(self, right: Tensor, at: Tensor) -> Tensor:
        """The units that the other operator would give at place ``at``: units after +x and after -x differ by 2x."""
        units, operand, operator = (right.gather(-1, (at - i).clamp_min(0)).squeeze(-1) for i in (0, 1, 2))
        change = torch.where(operator == self.plus, -2 * operand, 2 * operand)
        return (units + change) % self.radix

    # --- as text -------------------------------------------------------------------------------------------------

    def _numeral(self, units: int, tens: int) -> str:
        return np.base_repr(tens * self.radix + units, self.radix)

    def text(self, problem: int) -> str:
        prompt = self.prompt[problem].tolist()
        terms = [self._numeral(*prompt[:2])]
        terms += [self._symbols[token] for token in prompt[2 : 2 + 2 * int(self.number_of_steps[problem])]]
        base = "" if self.radix == 10 else f"In base {self.radix}: "
        return f"{base}{' '.join(terms)} = ? Write every step, for example +8=45;-6=39."

    def answer_text(self, answer: int) -> str:
        return self.write_tokens(self.answer[answer])

    def verify(self, problem: int, text: str) -> bool:
        """Right is the bare result, or steps like ``+8=45`` separated by ``;`` whose last one ends in it."""
        steps = re.fullmatch(r"(?:\s*[+-]\s*\d\s*=\s*\d+\s*;)*\s*(?:[+-]\s*\d\s*=\s*)?(\d+)\s*\.?\s*", text, re.ASCII)
        units, tens = self._result[problem].tolist()
        return steps is not None and (steps[1].lstrip("0") or "0") == self._numeral(units, tens)

    def plain(self, sentence: str) -> str:
        """Also without the request, blanks and the question mark."""
        return re.sub(r"\s|=?\s*\?.*$", "", sentence.lower())

    def write_tokens(self, tokens: Tensor) -> str:
        written = tokens[: int(self.length(tokens))].tolist()
        steps: list[list[int]] = [[]]
        for token in written:
            if token in (self.following, self.mark, self.end):
                steps.append([token])
            else:
                steps[-1].append(token)
        return "".join(self._write_step(step) for step in steps).removeprefix(";")

    def _write_step(self, step: list[int]) -> str:
        symbols = [self._symbols[token] for token in step]
        if len(step) == STEP and step[3] < self.radix and step[4] < self.radix:
            return f"{''.join(symbols[:3])}={self._numeral(step[3], step[4])}"
        return "".join(symbols)

    def read_answer(self, text: str) -> Tensor:
        digits = f"[0-{self.radix - 1}]"
        given = re.sub(r"[ \t\r\n]", "", text)
        if not re.fullmatch(
            rf"(?:[+-]{digits}={digits}{{1,2}};){{0,{self.steps - 1}}}[+-]{digits}={digits}{{1,2}}\.?", given
        ):
            raise UnreadableError("answer", f"{text[:80]!r} is no scratchpad; steps are wanted, like +8=45;-6=39.")
        tokens = torch.full((STEP * self.steps + 1,), self.end)
        for i, step in enumerate(given.rstrip(".").split(";")):
            value = int(step[3:], self.radix)
            operator = self.plus if step[0] == "+" else self.minus
            written = [self.following, operator, int(step[1]), value % self.radix, value // self.radix]
            tokens[STEP * i : STEP * (i + 1)] = torch.tensor(written)
        return tokens
