"""Action spaces of teachers, and spaces as plain data."""

from __future__ import annotations

import inspect
import json
import math
import string
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Text

Floats = npt.NDArray[np.float32]
Decisions = dict[str, npt.NDArray[np.float64]]
RATIO = 4.0  # shares are softmax(RATIO * entries)


class Block(NamedTuple):
    """A run of an action's entries, and what they stand for: shares of one, options of which the largest counts, or numbers."""

    kind: Literal["shares", "choice", "numbers"]
    size: int


class Parameter(NamedTuple):
    """A decision that has a name, as a person types it and as a tool's argument.

    Attributes:
        name: of the decision.
        kind: a ``number`` from low to high; a ``weight``, 0 or more, of which shares are made; a ``flag``; one of `options`.
        low, high: range of a number.
        neutral: what it is where nothing is said; of weights, where another is given.
        options: of an option.
        parts: how many values it has that can be given one by one, ``name.1`` and so on, or as a list; 0 if it is a whole.
        meaning: what it does, in a few words.
    """

    name: str
    kind: Literal["number", "weight", "flag", "option"]
    low: float = 0.0
    high: float = 1.0
    neutral: float | str = 0.0
    options: tuple[str, ...] = ()
    parts: int = 0
    meaning: str = ""

    @property
    def allowed(self) -> str:
        """Its values, as a person would write them."""
        of_kind = {"number": f"{self.low:g} to {self.high:g}", "weight": "0 or more", "flag": "0 or 1"}
        return of_kind.get(self.kind, "|".join(self.options))

    def read(self, value: Any) -> Any:
        """A given value: a float or an option; of what has parts, a list of all of them.

        Raises:
            ValueError: it is not allowed.
        """
        if self.kind == "option":
            if value not in self.options:
                raise ValueError(f"{self.name} is {value!r}; choose from {', '.join(self.options)}.")
            return value
        if not self.parts:
            return self._number(value)
        if not isinstance(value, list | tuple):  # money is split over all parts, all else is the same for each
            return [self._number(value) / (self.parts if self.kind == "weight" else 1)] * self.parts
        if len(value) != self.parts:
            raise ValueError(f"{self.name} has {self.parts} parts; a list of {len(value)} was given.")
        return [self._number(each) for each in value]

    def _number(self, value: Any) -> float:
        high = math.inf if self.kind == "weight" else self.high
        fits = isinstance(value, int | float) and math.isfinite(value) and self.low <= value <= high
        if not fits or (self.kind == "flag" and value not in (0, 1)):
            raise ValueError(f"{self.name} is {value!r}; give {self.allowed}.")
        return float(value)


class PlainSpace:
    """A space that can be written as plain data and made again from it. Derive from it and from a space of Gymnasium's.

    The data are the constructor's arguments, which the space keeps as attributes of the same names. A class that keeps them
    otherwise overrides `to_plain` and `from_plain`.
    """

    def to_plain(self) -> dict[str, Any]:
        """The constructor's arguments by name, but for the seed: what JSON can say, tuples, or arrays."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters if name != "seed"}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The space that `to_plain` described."""
        return cls(**plain)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.to_plain().items())})"

    __hash__ = None  # type: ignore[assignment]  # as Gymnasium's

    def __eq__(self, other: object) -> bool:
        """As Gymnasium's spaces, to which it is equal where it has their form; another of these has equal arguments, too."""
        return super().__eq__(other) and (not isinstance(other, PlainSpace) or self.to_plain() == other.to_plain())


# Gymnasium's spaces, and the arguments that make another one.
_GYMNASIUM: dict[type[Space[Any]], Callable[[Any], dict[str, Any]]] = {
    Box: lambda s: {"low": s.low.tolist(), "high": s.high.tolist(), "dtype": s.dtype.name},
    Dict: lambda s: {"spaces": {name: space_to_plain(inner) for name, inner in s.spaces.items()}},
    Discrete: lambda s: {"n": int(s.n), "start": int(s.start)},
    MultiDiscrete: lambda s: {"nvec": s.nvec.tolist()},
    Text: lambda s: {"max_length": s.max_length, "min_length": s.min_length, "charset": s.characters},
}


def space_to_plain(space: Space[Any]) -> dict[str, Any]:
    """A space as plain data: ``space``, its class (``module:name`` of a `PlainSpace`), and ``arguments``.

    Raises:
        ValueError: its class has no such form.
    """
    kind = type(space)
    if isinstance(space, PlainSpace):
        return {"space": f"{kind.__module__}:{kind.__qualname__}", "arguments": space.to_plain()}
    if kind not in _GYMNASIUM:
        known = ", ".join(known.__name__ for known in _GYMNASIUM)
        raise ValueError(f"{space} cannot be written as data. Use {known}, or derive {kind.__name__} from PlainSpace.")
    return {"space": kind.__name__, "arguments": _GYMNASIUM[kind](space)}


def space_from_plain(plain: Mapping[str, Any]) -> Space[Any]:
    """The space that `space_to_plain` described. Of ``module:name`` the module is imported: only for data of one's own making.

    Raises:
        ValueError: there is no such class, or it is no `PlainSpace`.
    """
    name, arguments = plain["space"], dict(plain["arguments"])
    for kind in _GYMNASIUM:
        if kind.__name__ == name:
            if kind is Dict:
                arguments["spaces"] = {key: space_from_plain(inner) for key, inner in arguments["spaces"].items()}
            if kind is Box:
                arguments |= {end: np.array(arguments[end], arguments["dtype"]) for end in ("low", "high")}
            return kind(**arguments)
    module, _, own = name.partition(":")
    found: Any = getattr(import_module(module), own, None) if own else None
    if not (isinstance(found, type) and issubclass(found, PlainSpace)):
        raise ValueError(f"{name!r} is no space that can be made from data; its class has to derive from PlainSpace.")
    return found.from_plain(arguments)  # type: ignore[return-value]  # it derives from a space, too


def blocks(space: Space[Any]) -> tuple[Block, ...]:
    """What the entries of a box stand for; numbers, if its class does not say.

    Raises:
        ValueError: it is no box.
    """
    if not isinstance(space, Box):
        raise ValueError(f"The actions are {space}; a Box of numbers is wanted.")
    return space.blocks if isinstance(space, WordedBox) else (Block("numbers", space.shape[0]),)


class WordedBox(PlainSpace, Box):
    """A box whose actions stand for decisions that have names, for persons, language models and pictures."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What the entries stand for, in their order."""
        return (Block("numbers", self.shape[0]),)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """What actions [..., n] decide: name of a decision -> its values, an array [...]."""
        raise NotImplementedError

    def parameters(self, skills: Sequence[str]) -> tuple[Parameter, ...]:
        """The decisions that `compose` takes."""
        raise NotImplementedError

    def compose(self, decided: Mapping[str, Any], skills: Sequence[str]) -> Floats:
        """The action [n] of named decisions or of parts of them; what is left out stays neutral.

        Raises:
            ValueError: there is no such decision or part, or a value is not allowed.
        """
        known = {parameter.name: parameter for parameter in self.parameters(skills)}
        values = {name: known[name].read(value) for name, value in decided.items() if name in known}
        for name in decided.keys() - values.keys():
            whole, _, part = name.rpartition(".")
            if whole not in known:
                raise ValueError(f"There is no decision {name!r}; there are {', '.join(known)}.")
            one = known[whole]
            if not (part.isdecimal() and 1 <= int(part) <= one.parts):
                raise ValueError(f"{name!r} is no part of {whole}; it has {one.parts}, numbered from 1.")
            values.setdefault(whole, one.read(one.neutral))[int(part) - 1] = one._replace(parts=0).read(decided[name])
        return self._compose(values, skills).astype(np.float32)

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        """The action of values as `Parameter.read` gives them; what is left out is neutral."""
        raise NotImplementedError

    def describe(self, action: npt.ArrayLike, skills: Sequence[str]) -> dict[str, Any]:
        """What `compose` would make this action [n] of, but for rounding: all that is not neutral."""
        found = self._describe(np.asarray(action, dtype=np.float64), skills)
        for one in self.parameters(skills):
            value = found[one.name]
            if isinstance(value, list) and len(set(value)) == 1:  # as `Parameter.read` spreads a number
                value = found[one.name] = rounded(value[0] * (one.parts if one.kind == "weight" else 1))
            if value == one.neutral:
                del found[one.name]
        return found

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        raise NotImplementedError


def rounded(values: npt.ArrayLike) -> Any:
    """Numbers with four digits, as JSON has them."""
    short: list[float] = [float(f"{value:.4g}") for value in np.ravel(values)]
    return short if np.ndim(values) else short[0]


def weights_of(entries: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Weights of which `Shares.encode` would make these entries [n], the largest 1; all 0 where all are alike."""
    relative: npt.NDArray[np.float64] = np.exp(temperature * (entries - entries.max()))
    return np.where((entries == entries.max()).all() | (relative <= np.exp(-2 * temperature)), 0.0, relative)


class Shares(WordedBox):
    """``Box(-1, 1, (n,))`` whose points stand for shares of a budget: ``shares = softmax(temperature * action)``.

    A plain box to every learner and checker. The action 0 is the uniform split; the largest ratio of two shares is
    ``exp(2 * temperature)``.

    Args:
        n: number of things the budget is split over.
        temperature: how far the ends of the box reach.
        seed: seed of ``sample``.
    """

    def __init__(self, n: int, temperature: float = 4.0, seed: int | None = None) -> None:
        super().__init__(-1.0, 1.0, (n,), np.float32, seed=seed)
        self.n, self.temperature = n, temperature

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (Block("shares", self.n),)

    def decode(self, action: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Shares of an action (or of a batch of them, last axis n): non-negative, summing to 1."""
        logits = self.temperature * np.asarray(action, dtype=np.float64)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(weights / weights.sum(-1, keepdims=True))

    def encode(self, weights: npt.ArrayLike) -> Floats:
        """The action closest to given non-negative weights (any scale; last axis n). Zeros get the smallest share.

        Raises:
            ValueError: a weight is missing, negative or not finite, or all are zero.
        """
        weights, n = np.asarray(weights, dtype=np.float64), self.shape[0]
        if weights.shape[-1:] != (n,):
            raise ValueError(f"The weights have shape {weights.shape}; the last axis holds {n}, one for every entry.")
        if not np.isfinite(weights).all() or (weights < 0).any() or not (weights.max(-1) > 0).all():
            raise ValueError("Weights must be finite, non-negative and not all zero.")
        relative = np.maximum(weights / weights.max(-1, keepdims=True), np.exp(-2 * self.temperature))
        action: Floats = np.clip(1 + np.log(relative) / self.temperature, -1, 1).astype(np.float32)
        return action

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """The share of each skill, all of its sources together, in [0, 1]."""
        shares = self.decode(actions)
        by_skill = shares.reshape(*shares.shape[:-1], len(skills), -1).sum(-1)
        return dict(zip(skills, np.moveaxis(by_skill, -1, 0), strict=True))

    def parameters(self, skills: Sequence[str]) -> tuple[Parameter, ...]:
        """A weight a skill; its parts are its sources."""
        sources = self.n // len(skills)
        return tuple(Parameter(skill, "weight", parts=sources if sources > 1 else 0) for skill in skills)

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        if not values:
            return np.zeros(self.n)
        weights = np.zeros((len(skills), self.n // len(skills)))
        for skill, value in values.items():
            weights[list(skills).index(skill)] = value
        return self.encode(weights.ravel())

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        weights = weights_of(action, self.temperature).reshape(len(skills), -1)
        return {skill: rounded(row if len(row) > 1 else row[0]) for skill, row in zip(skills, weights, strict=True)}


class MixedBox(WordedBox):
    """``Box(-1, 1, (n,))`` for decisions of which some are amounts and some are choices.

    An amount takes one entry, -1 for the least and 1 for the most; a choice takes one entry an option, and the largest counts.

    Args:
        choices: name of every choice -> its options; an amount has none. Entries are in this order.
        seed: seed of ``sample``.
    """

    def __init__(self, choices: Mapping[str, Sequence[str]], seed: int | None = None) -> None:
        self.choices = {name: tuple(options) for name, options in choices.items()}
        super().__init__(-1.0, 1.0, (sum(max(1, len(o)) for o in self.choices.values()),), np.float32, seed=seed)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(Block("choice", len(o)) if o else Block("numbers", 1) for o in self.choices.values())

    def encode(self, students: int, **decisions: Any) -> Floats:
        """The action [S, n] of named decisions, each one for all or an array [S].

        Args:
            students: S.
            decisions: amounts in [0, 1], options by name or index; what is left out is 0, or the first option.

        Raises:
            ValueError: there is no such decision or option, or an amount is out of range.
        """
        unknown = decisions.keys() - self.choices.keys()
        if unknown:
            raise ValueError(f"Unknown decisions {sorted(unknown)}; known: {', '.join(self.choices)}.")
        parts = [self._entries(name, decisions.get(name, 0), students) for name in self.choices]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _entries(self, name: str, decision: Any, students: int) -> npt.NDArray[np.float64]:
        options = self.choices[name]
        given = np.broadcast_to(np.asarray(decision), (students,))
        if given.dtype.kind == "U":
            unknown = sorted(set(given.tolist()) - set(options))
            if unknown:
                raise ValueError(f"{name}={unknown[0]!r} is refused; choose from {', '.join(options)}.")
            given = np.array([options.index(option) for option in given])
        most = max(1, len(options) - 1)
        if not ((given >= 0) & (given <= most)).all():
            raise ValueError(f"{name} runs from {given.min()} to {given.max()}; 0 to {most} is allowed.")
        return np.where(np.arange(len(options)) == given[:, None], 1.0, -1.0) if options else 2.0 * given[:, None] - 1

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str] = ()) -> Decisions:
        """Amounts in [0, 1], and of every option whether it is chosen, 0 or 1."""
        entries, found = np.asarray(actions, dtype=np.float64), Decisions()
        for name, options in self.choices.items():
            taken, entries = np.split(entries, [max(1, len(options))], axis=-1)
            if not options:
                found[name] = (taken[..., 0] + 1) / 2
            best = taken.argmax(-1)
            found |= {f"{name}: {option}": (best == i).astype(np.float64) for i, option in enumerate(options)}
        return found

    def parameters(self, skills: Sequence[str] = ()) -> tuple[Parameter, ...]:
        """Amounts from 0 to 1, and choices."""
        return tuple(
            Parameter(name, "option", neutral=options[0], options=options) if options else Parameter(name, "number")
            for name, options in self.choices.items()
        )

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        action: Floats = self.encode(1, **values)[0]
        return action

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        ends = np.cumsum([max(1, len(options)) for options in self.choices.values()])
        rows = zip(self.choices.items(), np.split(action, ends[:-1]), strict=True)
        return {name: of[row.argmax()] if of else rounded((row[0] + 1) / 2) for (name, of), row in rows}


class JsonText(PlainSpace, Text):
    """``Text`` of printable ASCII that carries JSON (a plain ``Text`` knows letters and digits only).

    Args:
        max_length: most characters.
        example: samples are ``[{example: n}]`` with n from 1 to 32, where an action means something; random text would be
            refused as a whole.
        seed: seed of ``sample``.
    """

    def __init__(self, max_length: int, example: str, seed: int | None = None) -> None:
        super().__init__(max_length, min_length=0, charset=frozenset(string.printable), seed=seed)
        self.example = example

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A small valid text; masks are not supported.

        Raises:
            ValueError: a mask was given.
        """
        if mask is not None or probability is not None:
            raise ValueError("JsonText takes no mask and no probability.")
        return json.dumps([{self.example: int(self.np_random.integers(1, 33))}])
