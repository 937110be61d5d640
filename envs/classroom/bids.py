"""What several teachers of one student see and do, as one space: every teacher's part can be taken out and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict

from kdgym.spaces import Decisions, Parameter, Shares, WordedBox, rounded

Floats = npt.NDArray[np.float32]

MOST_CREDITS = 4.0  # a step; the purse holds one for every step
LARGEST_LOSS = 10.0
# What a teacher sees. Own skills, padded with zeros to the largest subject, and own sources: name -> (low, high).
_BY_SKILL = {"own": (0, 1), "accuracy": (0, 1), "loss": (0, LARGEST_LOSS), "change": (-1, 1), "target": (0, 1)}
_BY_SOURCE = {
    "price": (0, 2),
    "source_loss": (0, LARGEST_LOSS),
    "source_loss_mean": (0, LARGEST_LOSS),
    "source_spend": (0, 1),
}
# One number each: the own, and the mean of the others'.
_SUMMARY = {
    "score": (0, 1),
    "gain": (-LARGEST_LOSS, LARGEST_LOSS),
    "purse": (0, 1),
    "bid": (0, MOST_CREDITS),
    "share": (0, 1),
}
_COMMON = ("budget", "time")


class Bids(WordedBox):
    """``Box(-1, 1, (N * (1 + W * M),))``: of each of N teachers a bid for the student's time, and a plan of how it is used.

    A bid of b stands for ``(1 + b) ** 2`` credits, from none to four; 0 is the even pace, which empties the purse with the last
    step. A plan has an entry for each of M sources of each of W skills, W being the size of the largest subject; entries
    beyond a teacher's own skills mean nothing. Shares of the teacher's time are ``softmax(temperature * plan)``.

    Args:
        subjects: the skills of every teacher, as numbers; no skill is in two.
        sources: M.
        temperature: how far the ends of the box reach.
        seed: seed of ``sample``.
    """

    def __init__(
        self, subjects: Sequence[Sequence[int]], sources: int = 1, temperature: float = 4.0, seed: int | None = None
    ) -> None:
        self.subjects, self.sources = tuple(tuple(subject) for subject in subjects), sources
        self.teachers, self.width = len(self.subjects), max(len(subject) for subject in self.subjects)
        self.entries, self.temperature = 1 + self.width * sources, temperature  # entries of one teacher
        self._who = tuple(f"is_teacher_{i}" for i in range(self.teachers))
        self._plan = Shares(self.width * sources, temperature)
        super().__init__(-1.0, 1.0, (self.teachers * self.entries,), np.float32, seed=seed)
        padded = np.full((self.teachers, self.width), -1)
        for row, subject in zip(padded, self.subjects, strict=True):
            row[: len(subject)] = subject
        self.skills = padded  # [N, W], -1 where a subject has no more
        places = padded[:, :, None] * sources + np.arange(sources)
        self.places = np.where(padded[:, :, None] < 0, -1, places).reshape(self.teachers, -1)  # of the plan, [N, W * M]

    @cached_property
    def fields(self) -> dict[str, slice]:
        """Where everything stands in what `flat` returns: name -> entries."""
        sizes = {
            **dict.fromkeys(_BY_SKILL, self.width),
            **dict.fromkeys(_BY_SOURCE, self.width * self.sources),
            **{prefix + name: 1 for name in _SUMMARY for prefix in ("", "others_")},
            **dict.fromkeys(_COMMON, 1),
            **dict.fromkeys(self._who, 1),
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    def seen_space(self) -> Dict:
        """The space of what one teacher sees, by name."""
        both = {prefix + name: ends for name, ends in _SUMMARY.items() for prefix in ("", "others_")}
        ends = {**_BY_SKILL, **_BY_SOURCE, **both}
        sizes = {name: part.stop - part.start for name, part in self.fields.items()}
        return Dict({name: Box(*ends.get(name, (0, 1)), (size,)) for name, size in sizes.items()})

    def flat_space(self) -> Box:
        """The space of what one teacher sees, side by side: float32 [D]."""
        return Box(*self._ends)

    @cached_property
    def _ends(self) -> tuple[Floats, Floats]:
        space = self.seen_space()
        boxes: Any = [space[name] for name in self.fields]
        return np.concatenate([box.low for box in boxes]), np.concatenate([box.high for box in boxes])

    def acted_space(self) -> Box:
        """The space of what one teacher does: float32 [1 + W * M], the bid first."""
        return Box(-1.0, 1.0, (self.entries,), np.float32)

    def seen(self, observation: Mapping[str, Floats]) -> dict[str, Floats]:
        """What every teacher sees: own skills in full, the others in summary; an array [S, N, n] a field.

        Args:
            observation: of S classrooms, arrays [S, ...].
        """
        by_skill = {"own": np.ones_like(observation["target"])} | {
            name: observation[name] for name in list(_BY_SKILL)[1:]
        }
        by_skill["target"] = by_skill["target"] * self.teachers  # those of a subject sum to 1
        score = _taken(by_skill["target"] * by_skill["accuracy"], self.skills).sum(2)
        own = {name: (score if name == "score" else observation[name]) for name in _SUMMARY}
        summary = {}
        for name, value in own.items():
            summary[name] = value[:, :, None]
            summary[f"others_{name}"] = ((value.sum(1, keepdims=True) - value) / max(1, self.teachers - 1))[:, :, None]
        students = len(score)
        return {
            **{name: _taken(value, self.skills) for name, value in by_skill.items()},
            **{name: _taken(observation[name], self.places) for name in _BY_SOURCE},
            **{name: value.astype(np.float32) for name, value in summary.items()},
            **{name: np.repeat(observation[name][:, None], self.teachers, axis=1) for name in _COMMON},
            **{
                name: np.tile(me[:, None], (students, 1, 1))
                for name, me in zip(self._who, np.eye(self.teachers, dtype=np.float32), strict=True)
            },
        }

    def rows(self, observation: Mapping[str, Floats]) -> dict[str, Floats]:
        """The same, one teacher after the other, classroom by classroom: an array [S * N, n] a field."""
        return {name: value.reshape(-1, value.shape[2]) for name, value in self.seen(observation).items()}

    def flat(self, observation: Mapping[str, Floats]) -> Floats:
        """The same side by side, as `fields` says: float32 [S, N, D]."""
        seen, (low, high) = self.seen(observation), self._ends
        side_by_side: Floats = np.concatenate([seen[name] for name in self.fields], axis=2)
        return side_by_side.clip(low, high)

    def encode(self, credits: npt.ArrayLike, plan: npt.ArrayLike) -> Floats:
        """The action [S, N * (1 + W * M)] of all teachers.

        Args:
            credits: bid by each, 0 to 4, [S, N].
            plan: weights of each teacher's skills [S, N, W] or sources [S, N, W * M], at any scale; a teacher whose own are all
                0 spreads its time evenly.

        Raises:
            ValueError: bids are out of range, or weights missing, negative or not finite.
        """
        bid, weight = np.asarray(credits, dtype=np.float64), np.asarray(plan, dtype=np.float64)
        if not ((bid >= 0) & (bid <= MOST_CREDITS)).all():
            raise ValueError(
                f"Bids run from {bid.min():.4g} to {bid.max():.4g} credits; 0 to {MOST_CREDITS:g} are allowed."
            )
        if weight.shape[-1] == self.width:
            weight = weight.repeat(self.sources, axis=-1)
        weight = np.where(self.places >= 0, weight, 0)
        weight = np.where((weight == 0).all(-1, keepdims=True), 1.0, weight)
        action = np.concatenate([np.sqrt(bid)[..., None] - 1, self._plan.encode(weight)], axis=2)
        return np.asarray(action.reshape(len(action), -1), dtype=np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """Every teacher's bid, as a share of the most credits, and the shares of its skills in its time, in [0, 1]."""
        given = np.asarray(actions, dtype=np.float64)
        moves, found = given.reshape(*given.shape[:-1], self.teachers, self.entries), Decisions()
        for teacher, subject in enumerate(self.subjects):
            plan = moves[..., teacher, 1 : 1 + len(subject) * self.sources]
            found[f"bid of teacher {teacher}"] = (moves[..., teacher, 0] + 1) ** 2 / MOST_CREDITS
            shares = Shares(plan.shape[-1], self.temperature)
            found |= shares.decisions(plan, [skills[k] for k in subject])
        return found

    def parameters(self, skills: Sequence[str]) -> tuple[Parameter, ...]:
        """Every teacher's bid, as a share of the most credits, and weights of its skills; their parts are the sources."""
        even, parts = 1 / MOST_CREDITS, self.sources if self.sources > 1 else 0
        bids = (Parameter(f"bid of teacher {t}", "number", neutral=even) for t in range(self.teachers))
        return (*bids, *(Parameter(skills[k], "weight", parts=parts) for subject in self.subjects for k in subject))

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> Floats:
        credits = [MOST_CREDITS * values.get(f"bid of teacher {t}", 1 / MOST_CREDITS) for t in range(self.teachers)]
        plan = np.zeros((self.teachers, self.width, self.sources))
        for teacher, subject in enumerate(self.subjects):
            for place, k in enumerate(subject):
                plan[teacher, place] = values.get(skills[k], 0.0)
        action: Floats = self.encode([credits], plan.reshape(1, self.teachers, -1))[0]
        return action

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for teacher, (subject, move) in enumerate(zip(self.subjects, action.reshape(self.teachers, -1), strict=True)):
            found[f"bid of teacher {teacher}"] = rounded((move[0] + 1) ** 2 / MOST_CREDITS)
            plan = Shares(len(subject) * self.sources, self.temperature)
            found |= plan._describe(move[1 : 1 + plan.n], [skills[k] for k in subject])
        return found


def _taken(value: Floats, places: npt.NDArray[np.int64]) -> Floats:
    """Entries of every student's array [S, n] at places [N, W], 0 where a place is -1: [S, N, W]."""
    found = np.where(places < 0, 0, value[:, places])
    return np.asarray(found, dtype=np.float32)


def mixed(gains: npt.NDArray[np.float64], mixing: float) -> npt.NDArray[np.float64]:
    """Rewards of teachers: ``(1 - mixing)`` of the own gain and ``mixing`` of the mean of all, [..., N]."""
    return np.asarray((1 - mixing) * gains + mixing * gains.mean(-1, keepdims=True))


def gini(gains: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gini coefficient of teachers' gains [..., N] -> [...]: 0 where all are alike, (N - 1) / N where one has all.

    Losses count as 0; where nobody gained, nothing is unequal.
    """
    worth = np.sort(np.clip(gains, 0, None), axis=-1)
    rank = np.arange(1, worth.shape[-1] + 1)
    total = worth.sum(-1)
    uneven = ((2 * rank - worth.shape[-1] - 1) * worth).sum(-1)
    return np.asarray(uneven / np.where(total > 0, total * worth.shape[-1], 1))
