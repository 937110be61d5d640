"""Dials: a box whose entries are the numbers of a training recipe, each with a name, a range and a neutral value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym.spaces.boxes import RATIO, Block, Decisions, Floats, Parameter, WordedBox, rounded, weights_of

Scale = Literal["linear", "log", "memory", "shares"]
_OFF = -0.98  # at and below this entry a log dial that can be 0 is 0


@dataclass(frozen=True)
class Dial:
    """One number of a recipe, or a few that are shares of one.

    Attributes:
        name: a word of Python's, so that it can be a keyword argument.
        meaning: what it does, in a few words.
        low, high: its range.
        neutral: its value where nothing is said; the action 0 gives it, bit for bit.
        scale: how the entry a in [-1, 1] moves it from there to the ends of the range. ``linear``: evenly. ``log``: by equal
            ratios; where ``low`` is 0 the least ratio is ``least``, and a neutral value of 0 is kept by all a <= 0. ``memory``:
            a rate r of averages r * old + (1 - r) * new, by equal ratios of 1 - r. ``shares``: one entry a member.
        members: how many shares there are, 1 of a single number.
        least: of a log dial that can be 0, its smallest other value.
    """

    name: str
    meaning: str
    low: float = 0.0
    high: float = 1.0
    neutral: float = 0.0
    scale: Scale = "linear"
    members: int = 1
    least: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a dial that has no such range.

        Raises:
            ValueError: the name is no word, or the numbers do not fit the scale.
        """
        if not self.name.isidentifier():
            raise ValueError(f"A dial is called {self.name!r}; give a word of letters, digits and underscores.")
        if self.scale == "shares":
            fits = self.members >= 2 and (self.low, self.high, self.neutral) == (0, 1, 0)
        else:
            fits = self.members == 1 and self.low < self.high and self.low <= self.neutral <= self.high
        if self.scale == "log":
            floor = self.least if self.low == 0 else self.low
            fits &= 0 < floor < self.high and (self.neutral == 0 or self.neutral >= floor)
        if self.scale == "memory":
            fits &= self.low >= 0 and self.high < 1
        if not fits:
            raise ValueError(f"The dial {self.name} has a range that its scale {self.scale!r} cannot have: {self}.")

    def turn(self, entry: Tensor) -> Tensor:
        """The values of entries: [..., members] -> [...], of shares [..., members], float64."""
        if self.scale == "shares":
            return torch.softmax(RATIO * entry, dim=-1)
        a = entry[..., 0]
        if self.scale == "linear":
            return self.neutral + torch.where(a > 0, self.high - self.neutral, self.neutral - self.low) * a
        if self.scale == "memory":
            ends = [math.log((1 - end) / (1 - self.neutral)) for end in (self.high, self.low)]
            rate = 1 - (1 - self.neutral) * torch.exp(self._reach(a, *ends))
            return torch.where(a == 0, self.neutral, rate.clamp(self.low, self.high))
        floor, start = self._floor, self.neutral or self._floor
        value = start * torch.exp(self._reach(a, math.log(self.high / start), math.log(floor / start) / self._lowest))
        if self.neutral == 0:
            return torch.where(a > 0, value, 0.0)
        return torch.where(a <= _OFF, 0.0, value) if self.low == 0 else value

    @staticmethod
    def _reach(a: Tensor, up: float, down: float) -> Tensor:
        return a.clamp_min(0) * up - a.clamp_max(0) * down

    @property
    def _floor(self) -> float:
        return self.least if self.low == 0 else self.low

    @property
    def _lowest(self) -> float:
        """How far below 0 the entry of a log dial's smallest value is; further down it is off."""
        return -_OFF if self.low == 0 else 1.0

    def entries(self, value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The entries that stand for values: [...], of shares [..., members] -> [..., members].

        Raises:
            ValueError: a value is out of range.
        """
        if self.scale == "shares":
            return self._of_shares(value)
        if not ((value >= self.low) & (value <= self.high)).all():
            raise ValueError(
                f"{self.name} is {value.min():g} to {value.max():g}; {self.low:g} to {self.high:g} is allowed."
            )
        if self.scale == "linear":
            up, down = self.high - self.neutral, self.neutral - self.low
            a = np.where(value > self.neutral, (value - self.neutral) / (up or 1), (value - self.neutral) / (down or 1))
        elif self.scale == "memory":
            moved = np.log((1 - value) / (1 - self.neutral))
            up, down = (math.log((1 - end) / (1 - self.neutral)) or 1.0 for end in (self.high, self.low))
            a = np.where(value > self.neutral, moved / up, -moved / down)
        else:
            a = self._of_ratios(value)
        return np.clip(a, -1, 1)[..., None]

    def _of_ratios(self, value: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        start, off = self.neutral or self._floor, -1.0 if self.neutral else 0.0
        moved = np.log(np.maximum(value, self._floor) / start)
        up, down = math.log(self.high / start), math.log(start / self._floor) / self._lowest
        smallest = 1e-6 if self.neutral == 0 else _OFF + 1e-6  # what is not 0 must not become 0
        a = np.where(moved > 0, moved / (up or 1), moved / (down or 1))
        return np.where(value == 0, off, np.maximum(a, smallest) if self.low == 0 else a)

    def _of_shares(self, weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if weight.shape[-1:] != (self.members,):
            raise ValueError(f"{self.name} has {self.members} shares; what was given has the shape {weight.shape}.")
        if not np.isfinite(weight).all() or (weight < 0).any() or not (weight.max(-1) > 0).all():
            raise ValueError(f"The shares of {self.name} are finite, not negative, and not all zero.")
        even = (weight == weight[..., :1]).all(-1, keepdims=True)
        relative = np.maximum(weight / weight.max(-1, keepdims=True), math.exp(-2 * RATIO))
        return np.where(even, 0.0, 1 + np.log(relative) / RATIO)


class Dials(WordedBox):
    """``Box(-1, 1, (n,))`` of named dials; the action 0 leaves all of them neutral.

    Args:
        dials: in the order of the entries; or what `to_plain` wrote of them.
        seed: seed of ``sample``.

    Raises:
        ValueError: two have the same name.
    """

    def __init__(self, dials: Sequence[Dial | Mapping[str, Any]], seed: int | None = None) -> None:
        self.dials = tuple(dial if isinstance(dial, Dial) else Dial(**dial) for dial in dials)
        self.names = tuple(dial.name for dial in self.dials)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"Dials have different names; these are {', '.join(self.names)}.")
        self._sizes = [dial.members for dial in self.dials]
        super().__init__(-1.0, 1.0, (sum(self._sizes),), np.float32, seed=seed)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(Block("shares" if dial.members > 1 else "numbers", dial.members) for dial in self.dials)

    def to_plain(self) -> dict[str, Any]:
        """The dials as data."""
        return {"dials": [asdict(dial) for dial in self.dials]}

    def decode(self, action: Tensor) -> dict[str, Tensor]:
        """What actions [..., n] say: name -> values [...], of shares [..., members], float64."""
        entries = action.double().split(self._sizes, dim=-1)
        return {dial.name: dial.turn(entry) for dial, entry in zip(self.dials, entries, strict=True)}

    def encode(self, students: int | None = None, /, **values: Any) -> Floats:
        """The action of some dials' values; the others stay neutral.

        Args:
            students: S; where it is left out, the arrays say it.
            values: numbers, or arrays [S], one a student; shares with a last axis of their members, at any scale.

        Returns:
            [S, n], or [n] where S is left out and nothing was given as an array.

        Raises:
            ValueError: there is no such dial, a value is out of range, or shapes do not fit each other.
        """
        if unknown := values.keys() - set(self.names):
            raise ValueError(f"There is no dial {', '.join(sorted(unknown))}; there are {', '.join(self.names)}.")
        given = {
            dial.name: dial.entries(self._array(dial, values[dial.name])) for dial in self.dials if dial.name in values
        }
        shapes = [entries.shape[:-1] for entries in given.values()] + [() if students is None else (students,)]
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError as error:
            raise ValueError(
                f"Values of {', '.join(values)} are of different numbers of students ({error})."
            ) from error
        parts = [given.get(d.name, np.zeros(d.members)) for d in self.dials]
        wide = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts]
        return np.concatenate(wide, axis=-1).astype(np.float32)

    @staticmethod
    def _array(dial: Dial, value: Any) -> npt.NDArray[np.float64]:
        try:
            return np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{dial.name} is {value!r}; give a number, or one a student.") from error

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str] = ()) -> Decisions:
        """The value of every dial; shares one by one, ``name.1`` and so on."""
        found = Decisions()
        for name, value in self.decode(torch.from_numpy(np.array(actions, dtype=np.float32))).items():
            if self.dials[self.names.index(name)].members == 1:
                found[name] = value.numpy()
            else:
                found |= {f"{name}.{i + 1}": share.numpy() for i, share in enumerate(value.unbind(-1))}
        return found

    def parameters(self, skills: Sequence[str] = ()) -> tuple[Parameter, ...]:
        """The dials; shares are weights."""
        return tuple(
            Parameter(d.name, "weight", parts=d.members, meaning=d.meaning)
            if d.members > 1
            else Parameter(d.name, "number", d.low, d.high, d.neutral, meaning=d.meaning)
            for d in self.dials
        )

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        return self.encode(**values)

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        values = self.decode(torch.from_numpy(action))
        entries = np.split(action, np.cumsum(self._sizes)[:-1])
        return {
            d.name: rounded(weights_of(row, RATIO))
            if d.members > 1
            else min(max(rounded(float(values[d.name])), d.low), d.high)
            for d, row in zip(self.dials, entries, strict=True)
        }
