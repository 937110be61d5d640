"""Room to win: what the best control, constant, rule and learned teacher of an environment are worth, and the upper bound.

The best of a kind is *cross-fitted*: it is chosen on one half of the students and scored on the other half, and the other way
round. So that there are many to choose from does not make a kind better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kdgym.catalogue import roles
from kdgym.evaluation.agents import NO_TEACHING, attribute
from kdgym.evaluation.statistics import Interval, Scores, mean_interval
from kdgym.registration import Entry

Kind = Literal["untaught", "control", "static", "rule", "learned", "bound"]
KINDS: dict[Kind, str] = {
    "untaught": "untaught",
    "control": "best control",
    "static": "best static",
    "rule": "best rule",
    "learned": "best learned",
    "bound": "upper bound",
}
LEAST = 0.03  # of a difference that counts as room
_LEARNED = ("train it first", "language model", "rl", "learned", "llm")
# What is compared with what: a row with the better of other rows. Controls react to no student either, so a rule has to be
# better than they are, too.
_BELOW: dict[Kind, tuple[Kind, ...]] = {
    "control": ("untaught",),
    "static": ("control",),
    "rule": ("static", "control"),
    "learned": ("static", "control"),
    "bound": ("rule", "learned"),
}


@dataclass(frozen=True)
class Best:
    """The best of a kind.

    Attributes:
        teachers: who was chosen on either half; one, if it is the same.
        scores: of all students, each under the teacher that was chosen on the other half, [S].
    """

    teachers: tuple[str, ...]
    scores: Scores


@dataclass(frozen=True)
class Difference:
    """A paired difference of a row to the row of another kind, ``lower``, with its 95 % interval."""

    lower: Kind
    interval: Interval

    @property
    def is_room(self) -> bool:
        """Whether it is at least `LEAST`, and its interval above 0."""
        return self.interval.mean >= LEAST and self.interval.low > 0


@dataclass(frozen=True)
class Room:
    """What there is to win in an environment.

    Attributes:
        env_id: the environment.
        source: where the scores are from, as a reader is told.
        rows: the best of each kind that there is.
        differences: of the rows, by the kind of the upper one.
    """

    env_id: str
    source: str
    rows: Mapping[Kind, Best]
    differences: Mapping[Kind, Difference]

    @property
    def students(self) -> int:
        """How many there are."""
        return len(next(iter(self.rows.values())).scores)

    def to_json(self, raw: bool = True) -> dict[str, Any]:
        """Rows, ``raw`` with every student's score; differences, and whether they are room."""
        return {
            "env_id": self.env_id,
            "source": self.source,
            "students": self.students,
            "rows": {
                kind: {
                    "teachers": list(best.teachers),
                    **vars(mean_interval(best.scores)),
                    **({"scores": best.scores.tolist()} if raw else {}),
                }
                for kind, best in self.rows.items()
            },
            "differences": {
                kind: {"minus": found.lower, **vars(found.interval), "is_room": found.is_room}
                for kind, found in self.differences.items()
            },
        }


def best_of(scores: Mapping[str, Scores]) -> Best:
    """The best teacher, cross-fitted: every second student is one half, the others are the other.

    Args:
        scores: of each teacher, [S] of the same students; at least one teacher, and 4 students.

    Raises:
        ValueError: there are fewer students.
    """
    names, table = list(scores), np.stack(list(scores.values()))
    if table.shape[1] < 4:
        raise ValueError(f"Choosing on one half of the students needs at least 4 of them; there are {table.shape[1]}.")
    chosen, joined = [], np.empty(table.shape[1])
    for half in (0, 1):
        best = int(table[:, 1 - half :: 2].mean(1).argmax())
        chosen.append(names[best])
        joined[half::2] = table[best, half::2]
    return Best(tuple(dict.fromkeys(chosen)), joined)


def room(env_id: str, source: str, scores: Mapping[str, Scores], kinds: Mapping[str, Sequence[Kind]]) -> Room:
    """What there is to win, from every teacher's scores.

    Args:
        env_id: the environment.
        source: see `Room`.
        scores: of each teacher, [S], of the same students.
        kinds: of each teacher; a control that is a constant is of two kinds.

    Raises:
        ValueError: there are fewer than 4 students.
    """
    every = {kind: {name: values for name, values in scores.items() if kind in kinds[name]} for kind in KINDS}
    rows = {kind: best_of(mine) for kind, mine in every.items() if mine}
    differences: dict[Kind, Difference] = {}
    for upper, kinds_below in _BELOW.items():
        below = [kind for kind in kinds_below if kind in rows]
        if upper in rows and below:
            lower = max(below, key=lambda kind: rows[kind].scores.mean())
            differences[upper] = Difference(lower, mean_interval(rows[upper].scores - rows[lower].scores))
    return Room(env_id, source, rows, differences)


def kinds_of(agent: str, role: str, is_own: bool = True) -> tuple[Kind, ...]:
    """The kinds of a teacher.

    Args:
        agent: its name.
        role: in the environments' table, see `kdgym.catalogue.roles`, or on a board, see `kdgym.leaderboard.record.AgentCard`.
        is_own: whether a packaged teacher of that name is meant, whose class says whether it is a constant.
    """
    if is_own and agent == NO_TEACHING:
        return ("untaught",)
    static: tuple[Kind, ...] = ("static",) if is_own and attribute(agent, "static") else ()
    if role == "control":
        return ("control", *static)
    if role in ("upper bound", "oracle"):
        return ("bound",)
    return static or (("learned",) if role in _LEARNED else ("rule",))


def teachers_of(entry: Entry, extra: Sequence[str] = ()) -> dict[str, tuple[Kind, ...]]:
    """The teachers that are compared: those of the environment's row, other constants that fit, and ``extra`` ones, by name."""
    known = roles(entry.group)
    fixed = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds]
    found = {NO_TEACHING: kinds_of(NO_TEACHING, "control"), **{name: kinds_of(name, known[name]) for name in fixed}}
    found |= {name: kinds for name in entry.others if "static" in (kinds := kinds_of(name, known[name]))}
    return found | {name: kinds_of(name, known.get(name.partition(":")[0], "rule")) for name in extra}
