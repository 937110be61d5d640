"""How students write: token by token, all students and problems side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from kdgym.students.language.packing import Item, Pack

Choice: TypeAlias = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass
class Reading:
    """What is known after some students have read their problems.

    Attributes:
        packed: the problems, with the listed solutions.
        hidden: last hidden states [S, L, width].
        cache: keys and values of all layers.
    """

    packed: Pack
    hidden: Tensor
    cache: Any


class Writer(Protocol):
    """An evaluation backend."""

    def write(self, weights: Tensor, rows: list[list[Item]], wanted: Tensor, reading: Reading) -> Tensor:
        """Greedy answers of the bound students, int64 [S, n, answer_width], padded by the end of the turn.

        Args:
            weights: the students', [S, weights].
            rows: their problems, with solutions that must not be looked at.
            wanted: which answers are asked for, bool [S, n]; the others are anything.
            reading: what the model in this process made of the problems.
        """


class Model(Protocol):
    """What is needed of `kdgym.students.language.students.LanguageStudents`."""

    answer_width: int
    prompts: Any

    def read(self, tokens: Tensor, position: Tensor, mask: Tensor, cache: Any = None) -> Tensor: ...
    def speak(self, hidden: Tensor) -> Tensor: ...


class Local:
    """Writes with the transformers model of this process; goes on from the keys and values that reading left.

    Args:
        model: the students' model.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def write(self, weights: Tensor, rows: list[list[Item]], wanted: Tensor, reading: Reading) -> Tensor:
        """See `Writer.write`."""
        model, packed = self._model, reading.packed
        packed.hide_answers()
        students = torch.arange(len(wanted), device=wanted.device).unsqueeze(1)
        said = torch.full((*wanted.shape, model.answer_width), model.prompts.end, device=wanted.device)

        def likeliest(place: int, row: Tensor, item: Tensor, logits: Tensor) -> Tensor:
            said[row, item, place] = logits.argmax(-1)
            return said[row, item, place]

        write_on(model, reading, students, packed.ask, packed.prompt_length, wanted, likeliest)
        return said


def write_on(
    model: Model, reading: Reading, row: Tensor, ask: Tensor, position: Tensor, wanted: Tensor, choose: Choice
) -> None:
    """Decode token by token until every sequence has ended or reached its limit.

    Args:
        model: whose students are bound.
        reading: what they have read; its pack and its cache grow.
        row: of every item, int64, broadcasts against ``ask``.
        ask: slot at which every item's first new token is predicted, int64 [R, n].
        position: of that new token, int64 [R, n].
        wanted: items that are gone on with, bool [R, n].
        choose: place among the new tokens, rows [m], items [m] and logits [m, vocabulary] -> tokens [m].
    """
    stops = torch.tensor(sorted(model.prompts.stops), device=wanted.device)
    token, states = torch.zeros_like(ask), reading.hidden[row, ask]
    at, item = wanted.nonzero(as_tuple=True)
    column = item
    for place in range(model.answer_width):
        chosen = choose(place, at, item, model.speak(states[at, column]))
        token[at, item] = chosen
        wanted = wanted.index_put((at, item), ~torch.isin(chosen, stops))
        if place + 1 == model.answer_width or not wanted.any():
            break
        asked = _compact(wanted)
        known = asked.clamp_min(0)
        states = model.read(
            token.gather(1, known), position.gather(1, known) + place, reading.packed.append(asked), reading.cache
        )
        at, column = (asked >= 0).nonzero(as_tuple=True)
        item = asked[at, column]


def _compact(wanted: Tensor) -> Tensor:
    """Numbers of each student's wanted items, first of all, then -1: bool [S, n] -> int64 [S, m]."""
    most = int(wanted.sum(1).max())
    order = (~wanted).long().argsort(dim=1, stable=True)[:, :most]
    return torch.where(wanted.gather(1, order), order, -1)
