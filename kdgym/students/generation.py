"""How students write their answers: greedily, token by token, all students and problems side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kdgym.students.packing import Item, Pack


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
    """What is needed of `kdgym.students.language.LanguageStudents`."""

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
        stops = torch.tensor(sorted(model.prompts.stops), device=wanted.device)
        said = torch.full((*wanted.shape, model.answer_width), model.prompts.end, device=wanted.device)
        token = self._likeliest(reading.hidden[students, packed.ask])
        for place in range(model.answer_width):
            said[:, :, place] = torch.where(wanted, token, model.prompts.end)
            wanted = wanted & ~torch.isin(token, stops)
            if place + 1 == model.answer_width or not wanted.any():
                break
            item = _compact(wanted)
            known = item.clamp_min(0)
            position = packed.prompt_length.gather(1, known) + place
            hidden = model.read(token.gather(1, known), position, packed.append(item), reading.cache)
            row, column = (item >= 0).nonzero(as_tuple=True)
            token = token.index_put((row, item[row, column]), self._likeliest(hidden[row, column]))
        return said

    def _likeliest(self, hidden: Tensor) -> Tensor:
        return self._model.speak(hidden).argmax(-1)


def _compact(wanted: Tensor) -> Tensor:
    """Numbers of each student's wanted items, first of all, then -1: bool [S, n] -> int64 [S, m]."""
    most = int(wanted.sum(1).max())
    order = (~wanted).long().argsort(dim=1, stable=True)[:, :most]
    return torch.where(wanted.gather(1, order), order, -1)
