"""How a tiny student reads the problems of one skill: few tokens, and digits in columns.

A piece of a text is a number, a word or a sign. What all problems of a dataset begin and end with, and pieces that occur
equally often in all of them (its template), are left out: the token of the skill stands for them. Of the rest, a word that many
problems have is one token, any other is spelled. Numbers are written least significant digit first, as wide as the dataset's
widest, so that columns line up. No two problems look alike: where leaving out the template would do that, nothing is left out.

In an answer digits stand least significant first as well, what many answers have between digits is one token (given as
``common``), and the rest is spelled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

PADDING = ""
MOST_TOKENS = {"problem": 32, "answer": 12}  # that a tiny student reads and writes
_PIECE = re.compile(r"[0-9]+|[A-Za-z]+|[^\s0-9A-Za-z]")
_PART = re.compile(r"[0-9]|[^0-9]+")
_COMMON = 0.02  # of the problems or answers, for a word to have a token of its own

Tokens = list[str]


@dataclass(frozen=True)
class Spelled:
    """The n items of a skill, as text and as tokens.

    Attributes:
        problems, answers: texts.
        lengths: tokens of the longest problem and of the longest answer.
        tokens: names of the tokens of problems, by id; 0 is padding.
        prompt: int16 [n, T], padded in front; T = 0 where problems are too long for a tiny student.
        common: what many answers have between digits.
    """

    problems: list[str]
    answers: list[str]
    lengths: dict[str, int]
    tokens: list[str]
    prompt: Tensor
    common: list[str]


def spell(problems: list[str], answers: list[str]) -> Spelled:
    """A skill's items, spelled as far as they are short enough."""
    spelled, common = spell_problems(problems), common_parts(answers)
    length = max(map(len, spelled))
    lengths = {"problem": length, "answer": max(len(spell_answer(answer, common)) for answer in answers)}
    fits = length <= MOST_TOKENS["problem"]
    tokens = [PADDING, *sorted(set(chain.from_iterable(spelled)) - {PADDING})] if fits else []
    prompt = _encode(spelled, tokens, length) if fits else torch.zeros(len(problems), 0, dtype=torch.int16)
    return Spelled(problems, answers, lengths, tokens, prompt, sorted(common))


def _encode(texts: list[Tokens], tokens: list[str], width: int) -> Tensor:
    """Token ids, padded in front: int16 [n, width]."""
    number = {token: i for i, token in enumerate(tokens)}
    return torch.tensor([[0] * (width - len(text)) + [number[t] for t in text] for text in texts], dtype=torch.int16)


def spell_problems(problems: Sequence[str]) -> list[Tokens]:
    """The tokens of a dataset's problems, different for different problems."""
    split: list[Callable[[str], Tokens]] = [_PIECE.findall, _PIECE.findall, list]  # the last: character by character
    for attempt, pieces_of in enumerate(split):
        pieces = [pieces_of(problem) for problem in problems]
        if attempt == 0:
            pieces = _without_template(pieces)
        spelled = _spell(pieces)
        if len({tuple(row) for row in spelled}) == len(problems):
            break
    return spelled


def common_parts(answers: Sequence[str]) -> set[str]:
    """What many of a dataset's answers have between digits."""
    return {part for part in _common([_PART.findall(answer) for answer in answers]) if len(part) > 1}


def spell_answer(answer: str, common: Collection[str]) -> Tokens:
    """The tokens of an answer; `read_answer` is the inverse."""
    parts = _PART.findall(_turn_numbers(answer))
    return list(chain.from_iterable([part] if part in common else part for part in parts))


def read_answer(tokens: Sequence[str]) -> str:
    """The text of an answer's tokens."""
    return _turn_numbers("".join(tokens))


def _turn_numbers(text: str) -> str:
    return re.sub(r"[0-9]+", lambda number: number.group()[::-1], text)


def _without_template(pieces: Sequence[Tokens]) -> list[Tokens]:
    head = _common_beginning(pieces)
    tail = _common_beginning([row[head:][::-1] for row in pieces])
    middle = [row[head : len(row) - tail] for row in pieces]
    counts = [Counter(row) for row in middle]
    template = {piece for piece in counts[0] if all(count[piece] == counts[0][piece] for count in counts)}
    return [[piece for piece in row if piece not in template] for row in middle]


def _common_beginning(pieces: Sequence[Tokens]) -> int:
    first, last = min(pieces), max(pieces)  # all others are between them
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _spell(pieces: Sequence[Tokens]) -> list[Tokens]:
    width = max((len(piece) for piece in chain.from_iterable(pieces) if piece[0] in "0123456789"), default=0)
    common = _common(pieces)

    def spell(piece: str) -> Tokens:
        if piece[0] in "0123456789":
            return [*piece[::-1], *[PADDING] * (width - len(piece))]
        return [piece] if piece in common else list(piece)

    return [list(chain.from_iterable(map(spell, row))) for row in pieces]


def _common(pieces: Sequence[Tokens]) -> set[str]:
    counts = Counter(chain.from_iterable(set(row) for row in pieces))
    return {piece for piece, count in counts.items() if count >= _COMMON * len(pieces)}
