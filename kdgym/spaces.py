"""Action spaces of teachers, and spaces as plain data."""

from __future__ import annotations

import inspect
import json
import string
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Text

Floats = npt.NDArray[np.float32]
Decisions = dict[str, npt.NDArray[np.float64]]


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


class WordedBox(PlainSpace, Box):
    """A box whose actions stand for decisions that have names, for persons and pictures.

    Attributes:
        words: the decisions and their ranges, as a person would write them.
    """

    words: str

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """What actions [..., n] decide: name of a decision -> its values, an array [...]."""
        raise NotImplementedError

    def compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> Floats:
        """The action [n] of named decisions, at the scale of `decisions`; what is left out stays neutral.

        Raises:
            ValueError: there is no such decision, or a value is out of range.
        """
        known = self.decisions(np.zeros(self.shape), skills)
        unknown = [name for name in decided if name not in known]
        if unknown:
            raise ValueError(f"There is no decision {unknown[0]!r}; there are {', '.join(known)}.")
        action = self._compose(decided, skills).astype(np.float32)
        if not self.contains(action):
            raise ValueError(f"A value is out of range. The ranges: {self.words}.")
        return action

    def _compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> npt.NDArray[Any]:
        raise NotImplementedError


class Shares(WordedBox):
    """``Box(-1, 1, (n,))`` whose points stand for shares of a budget: ``shares = softmax(temperature * action)``.

    A plain box to every learner and checker. The action 0 is the uniform split; the largest ratio of two shares is
    ``exp(2 * temperature)``.

    Args:
        n: number of things the budget is split over.
        temperature: how far the ends of the box reach.
        seed: seed of ``sample``.
    """

    words = "SKILL=weight, 0 or more"

    def __init__(self, n: int, temperature: float = 4.0, seed: int | None = None) -> None:
        super().__init__(-1.0, 1.0, (n,), np.float32, seed=seed)
        self.n, self.temperature = n, temperature

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

    def _compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> npt.NDArray[Any]:
        weights = np.array([decided.get(skill, 0.0) for skill in skills] if decided else [1.0] * len(skills))
        return self.encode(weights.repeat(self.shape[0] // len(skills)))


class TreeMoves(WordedBox):
    """``Box(-1, 1, (K * (1 + M),))``: for each of K skills whether to explore, and a change for each of its M subskills.

    Args:
        skills: K.
        subskills: M.
        largest: the change that 1 stands for, in the unit of the observation ``allocation``.
        seed: seed of ``sample``.
    """

    words = "explore SKILL=0 or 1, change SKILL=-1 to 1"

    def __init__(self, skills: int, subskills: int, largest: float, seed: int | None = None) -> None:
        super().__init__(-1.0, 1.0, (skills * (1 + subskills),), np.float32, seed=seed)
        self.skills, self.subskills, self.largest = skills, subskills, largest

    def encode(self, explore: npt.ArrayLike, wanted: npt.ArrayLike, allocation: npt.ArrayLike) -> Floats:
        """The action that explores where told to and, elsewhere, goes as far towards ``wanted`` as one step can.

        Args:
            explore: bool [S, K].
            wanted: allocations [S, K * M] to be reached.
            allocation: those of the observation, [S, K * M].
        """
        shape = (-1, self.skills, self.subskills)
        change = (np.asarray(wanted, dtype=np.float64) - np.asarray(allocation)).reshape(shape) / self.largest
        first = np.where(np.asarray(explore, dtype=bool), 1.0, -1.0)[:, :, None]
        moves: Floats = np.concatenate([first, np.clip(change, -1, 1)], axis=2).reshape(len(first), -1)
        return moves.astype(np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """Whether each skill is explored, 0 or 1, and else the mean change of its subskills, in [-1, 1]."""
        given = np.asarray(actions, dtype=np.float64)
        moves = given.reshape(*given.shape[:-1], self.skills, 1 + self.subskills)
        explores, change = moves[..., 0] > 0, moves[..., 1:].mean(-1)
        return {f"explore {skill}": explores[..., k].astype(np.float64) for k, skill in enumerate(skills)} | {
            f"change {skill}": np.where(explores, 0.0, change)[..., k] for k, skill in enumerate(skills)
        }

    def _compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> npt.NDArray[Any]:
        moves = np.zeros((self.skills, 1 + self.subskills), np.float32)
        moves[:, 0] = [1.0 if decided.get(f"explore {skill}") else -1.0 for skill in skills]
        moves[:, 1:] = np.array([[decided.get(f"change {skill}", 0.0)] for skill in skills])
        return moves.ravel()


class MixedBox(WordedBox):
    """``Box(-1, 1, (n,))`` for decisions of which some are amounts and some are choices.

    An amount takes one entry, -1 for the least and 1 for the most; a choice takes one entry an option, and the largest counts.

    Args:
        choices: name of every choice -> its options; an amount has none. Entries are in this order.
        seed: seed of ``sample``.
    """

    def __init__(self, choices: Mapping[str, Sequence[str]], seed: int | None = None) -> None:
        self.choices = {name: tuple(options) for name, options in choices.items()}
        words = (f"{name}: {'|'.join(options)}" if options else f"{name}=0 to 1" for name, options in choices.items())
        self.words = ", ".join(words)
        super().__init__(-1.0, 1.0, (sum(max(1, len(o)) for o in self.choices.values()),), np.float32, seed=seed)

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

    def _compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> npt.NDArray[Any]:
        parts = [(*name.partition(": "), value) for name, value in decided.items()]
        named = {name: option or value for name, _, option, value in parts if not option or value}
        action: Floats = self.encode(1, **named)[0]
        return action


class TutoringMoves(WordedBox):
    """``Box(-1, 1, (K + n,))``: about which share of a group of each of K skills a pupil asks, then what its tutor does.

    Args:
        skills: K.
        choices: of the tutor, n entries in all; see `MixedBox`.
        seed: seed of ``sample``.
    """

    def __init__(self, skills: int, choices: Mapping[str, Sequence[str]], seed: int | None = None) -> None:
        self.skills, self.answers = skills, MixedBox(choices)
        self.choices = self.answers.choices
        self.words = f"ask about SKILL=0 to 1, {self.answers.words}"
        super().__init__(-1.0, 1.0, (skills + self.answers.shape[0],), np.float32, seed=seed)

    def encode(self, students: int, ask: npt.ArrayLike, **decisions: Any) -> Floats:
        """The action [S, K + n].

        Args:
            students: S.
            ask: shares in [0, 1], one for all, [S, 1] or [S, K].
            decisions: of the tutor, see `MixedBox.encode`.

        Raises:
            ValueError: a share or a decision is out of range.
        """
        share = np.broadcast_to(np.asarray(ask, dtype=np.float64), (students, self.skills))
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(
                f"The pupil asks about shares from {share.min():.4g} to {share.max():.4g}; 0 to 1 is allowed."
            )
        return np.concatenate([2 * share - 1, self.answers.encode(students, **decisions)], axis=1).astype(np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """Shares of groups that the pupil asks about, by skill, in [0, 1], then the tutor's decisions."""
        asked, answered = np.split(np.asarray(actions, dtype=np.float64), [self.skills], axis=-1)
        asks = {f"ask about {skill}": (asked[..., k] + 1) / 2 for k, skill in enumerate(skills)}
        return asks | self.answers.decisions(answered)

    def _compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> npt.NDArray[Any]:
        asks = {f"ask about {skill}": decided.get(f"ask about {skill}", 0.0) for skill in skills}
        answers = {name: value for name, value in decided.items() if name not in asks}
        return np.concatenate([2 * np.array(list(asks.values())) - 1, self.answers.compose(answers, skills)])


class SnapshotMoves(WordedBox):
    """``Box(-1, 1, (C + 3,))``: where practice starts: shares of C clusters, share of ordinary starts, horizon, end.

    Args:
        clusters: C.
        limit: the longest horizon, in steps.
        seed: seed of ``sample``.
    """

    temperature, shortest = 4.0, 5
    words = "cluster NUMBER=weight, ordinary=0 to 1, horizon=0 to 1, end=0 or 1"

    def __init__(self, clusters: int, limit: int, seed: int | None = None) -> None:
        super().__init__(-1.0, 1.0, (clusters + 3,), np.float32, seed=seed)
        self.clusters, self.limit = clusters, limit
        self.shares = Shares(clusters, self.temperature)

    def encode(
        self,
        weights: npt.ArrayLike,
        ordinary: npt.ArrayLike = 0.0,
        horizon: npt.ArrayLike | None = None,
        end: npt.ArrayLike = False,
    ) -> Floats:
        """The action [S, C + 3] of S students.

        Args:
            weights: of the clusters, not negative and not all 0, [S, C]; at any scale.
            ordinary: share of ordinary starts, in [0, 1], one for all or [S]; so the next two.
            horizon: steps after which an episode from a snapshot is cut, from `shortest` to `limit`, which None stands for.
            end: whether all starts are ordinary from now on.

        Raises:
            ValueError: weights, share or horizon are out of range.
        """
        first = self.shares.encode(weights)
        cut = np.asarray(self.limit if horizon is None else horizon, dtype=np.float64)
        share = np.asarray(ordinary, dtype=np.float64)
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(f"The share of ordinary starts is {ordinary!r}; give 0 to 1.")
        if not ((cut >= self.shortest) & (cut <= self.limit)).all():
            raise ValueError(f"The horizon is {horizon!r} steps; {self.shortest} to {self.limit} are allowed.")
        reach = 2 * np.log(cut / self.shortest) / np.log(self.limit / self.shortest) - 1
        last = (2 * share - 1, reach, 2.0 * np.asarray(end, dtype=bool) - 1)
        columns = [np.broadcast_to(column, first.shape[:1])[:, None] for column in last]
        return np.concatenate([first, *columns], axis=1).astype(np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str] = ()) -> Decisions:
        """Shares of ordinary starts and of each cluster among the others, where the horizon lies in its range, end."""
        given = np.asarray(actions, dtype=np.float64)
        clusters = self.shares.shape[0]
        ordinary, horizon, end = np.moveaxis((given[..., clusters:] + 1) / 2, -1, 0)
        others = self.shares.decisions(given[..., :clusters], [f"cluster {c}" for c in range(clusters)])
        return {**others, "ordinary": ordinary, "horizon": horizon, "end": end}

    def _compose(self, decided: Mapping[str, float], skills: Sequence[str]) -> npt.NDArray[Any]:
        clusters = [f"cluster {c}" for c in range(self.shares.shape[0])]
        weights = {name: decided[name] for name in clusters if name in decided}
        last = [decided.get(name, default) for name, default in (("ordinary", 0), ("horizon", 1), ("end", 0))]
        return np.concatenate([self.shares.compose(weights, clusters), 2 * np.array(last) - 1])


class TreeChoices(PlainSpace, MultiDiscrete):
    """``MultiDiscrete([5] * K)``: for each of K skills keep the allocations, explore, give more, give less, or stop.

    Args:
        skills: K.
        seed: seed of ``sample``.
    """

    KEEP, EXPLORE, MORE, LESS, STOP = range(5)

    def __init__(self, skills: int, seed: int | None = None) -> None:
        super().__init__([5] * skills, seed=seed)
        self.skills = skills

    def masks(self, opened: npt.ArrayLike, allocation: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which choices would have an effect, bool [S, 5 * K]; keeping is always possible.

        Args:
            opened: the observation ``open``, [S, K * M].
            allocation: the observation ``allocation``, [S, K * M].
        """
        is_open, spends = (np.asarray(x).reshape(len(np.asarray(x)), self.skills, -1) > 0 for x in (opened, allocation))
        some, busy = is_open.any(2), spends.any(2)
        masks = np.stack([np.ones_like(some), ~is_open.all(2), some, busy, busy], axis=2)
        return np.asarray(masks.reshape(len(masks), -1))


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
