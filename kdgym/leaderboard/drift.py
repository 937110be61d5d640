"""Drift: how far honest replays on another kind of machine are from their records, measured, and what may therefore differ.

On another kind of machine sums are rounded otherwise. A student's answers then change at near ties, and what it learns from
the same lessons changes with them. ``drift.json`` says by how much, per board. ``kdgym leaderboard drift`` replays committed
records and writes it. Whatever did not differ anywhere does not depend on rounding, and has to be equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.leaderboard.record import Outcome
from kdgym.storage import write_atomically

FILE = Path(__file__).with_name("drift.json")
EXACT = 1e-9  # sums of money depend on the order of a population's
# Standard errors of the measured drift that a mean may differ by: one honest record in two thousand differs by more.
ERRORS = 3.5
# Scores may differ by this where no drift was seen at all, since not all kinds of machine were measured.
LEAST = 0.005
# Where the mean score of a board's students may differ by more than this, nothing passes that is not bit for bit.
WIDEST = 0.05
SPREAD = 0.25  # of gains on boards that were not measured
DECISIONS = "decisions"  # of kdgym's own teachers, in the table
SCORES = ("before", "after", "first point of the curve", "curve", "after less the curve's end")
Array = npt.NDArray[np.float64]
Measured = dict[str, Array]


@dataclass(frozen=True)
class Drift:
    """Of one measure on one board.

    Attributes:
        spread: root mean square of a student's difference: of scores and right answers over all records, of all else (which few
            teachers may change) of the record where it is largest.
        absolute: mean absolute difference of the record where it is largest.
        mean: the same of the mean difference, where that is more than the spread explains; students of some boards share
            what rounding changes.
    """

    spread: float
    absolute: float
    mean: float = 0.0

    def reach(self, students: int, least: float) -> float:
        """By how much the mean of so many students may differ."""
        return max(ERRORS * self.spread / float(np.sqrt(students)), least, self.mean)


def differences(claimed: Outcome, found: Outcome, hidden: Iterable[str] = ()) -> Measured:
    """What the found students have more than the claimed ones, by measure, each [S, k].

    Scores are in their own units, all else relative to the mean over students.

    Args:
        claimed, found: of the same students, in the same order.
        hidden: actors whose costs are not compared.

    Raises:
        ValueError: there are other actors, units, skills or steps in one than in the other.
    """
    pairs = {name: (claimed_one, found_one) for name, claimed_one, found_one in _columns(claimed, found, set(hidden))}
    parts = {}
    for name, (one, other) in pairs.items():
        if one.shape != other.shape:
            raise ValueError(f"{name} has the shape {list(one.shape)}; {list(other.shape)} came out here")
        parts[name] = other - one
        if name not in SCORES:
            scale = max(float(np.abs(one).mean()), float(np.abs(other).mean()))
            parts[name] /= scale or 1.0
    return parts


def _columns(claimed: Outcome, found: Outcome, hidden: set[str]) -> Iterable[tuple[str, Array, Array]]:
    for name, one, other in (
        ("before", claimed.before, found.before),
        ("after", claimed.after, found.after),
        ("curve", claimed.curve, found.curve),
        ("asked", claimed.asked, found.asked),
        ("right", claimed.right, found.right),
    ):
        if {len(row) for row in _rows(one)} != {len(row) for row in _rows(other)}:
            raise ValueError(f"{name} has other lengths than here")
        yield name, _table(one), _table(other)
    ends = [_table(o.after) - _table(o.curve)[:, -1:] for o in (claimed, found)]
    yield "first point of the curve", _table(claimed.curve)[:, :1], _table(found.curve)[:, :1]
    yield "after less the curve's end", ends[0], ends[1]
    if {actor: set(units) for actor, units in claimed.cost.items()} != {a: set(u) for a, u in found.cost.items()}:
        raise ValueError("the costs are of other actors or units than here")
    for actor, units in claimed.cost.items():
        if actor not in hidden:
            for unit, amounts in units.items():
                yield f"{unit} of {actor}", _table(amounts), _table(found.cost[actor][unit])


def _rows(column: Sequence[Any]) -> list[list[float]]:
    return [value if isinstance(value, list) else [value] for value in column]


def _table(column: Sequence[Any]) -> Array:
    return np.array(_rows(column), dtype=np.float64)


def too_far(env_id: str, parts: Mapping[str, Array]) -> list[str]:
    """What differs by more than honest replays elsewhere do, in sentences.

    The mean difference may be `ERRORS` standard errors of what was measured, or the largest that was measured; the mean
    absolute difference that many standard errors more than the largest that was measured.

    Args:
        env_id: the board.
        parts: from `differences`.

    Raises:
        KeyError: nothing was measured on this board.
    """
    table, problems = measured()[env_id], []
    for name, difference in parts.items():
        drift, least = table.get(name, Drift(0.0, 0.0)), LEAST if name in SCORES else 0.0
        if not least and name not in table:
            if not np.abs(difference).max(initial=0.0) <= EXACT:
                problems.append(f"{name} differs, which does not depend on the machine")
            continue
        error = ERRORS * drift.spread / np.sqrt(len(difference))
        mean, absolute = abs(float(difference.mean())), float(np.abs(difference).mean())
        for what, found, allowed in (
            ("the mean", mean, drift.reach(len(difference), least)),
            ("students", absolute, max(drift.absolute + error, least)),
        ):
            if not found <= allowed:  # NaN is too far
                by = "differs" if what == "the mean" else "differ"
                problems.append(f"{name}: {what} {by} by {found:.4f}; {allowed:.4f} is allowed")
    return problems


def reach(env_id: str, students: int) -> float:
    """By how much the mean score of so many students may differ after teaching.

    Raises:
        KeyError: nothing was measured on this board.
    """
    return measured()[env_id].get("after", Drift(0.0, 0.0)).reach(students, LEAST)


def decisions(env_id: str) -> float:
    """By how much decisions of kdgym's own teachers differ between kinds of machine, of the teacher where that is largest."""
    return measured().get(env_id, {}).get(DECISIONS, Drift(0.0, 0.0)).absolute


def gain_spread(env_id: str) -> float:
    """Standard deviation of students' gains over the board's control, of the record where it is largest; see `write_drift`."""
    boards = _boards()
    return float(boards[env_id]["gain spread"]) if env_id in boards else SPREAD


@lru_cache
def _boards() -> dict[str, Any]:
    boards: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return boards


@lru_cache
def measured() -> dict[str, dict[str, Drift]]:
    """The drift of every board that was measured, by measure; measures that did not differ are left out."""
    return {
        env_id: {name: Drift(**numbers) for name, numbers in board["drift"].items()}
        for env_id, board in _boards().items()
    }


def write_drift(env_id: str, machine: str, replays: Sequence[Measured], gains: Sequence[Array]) -> None:
    """Write a board's rows of the table; what other kinds of machine differed by stays in it.

    Args:
        env_id: the board.
        machine: the kind of machine of the replays.
        replays: `differences` of every record.
        gains: of every record over the board's control, [S].
    """
    boards = json.loads(FILE.read_text(encoding="utf-8"))
    old = boards.get(env_id, {"machines": [], "replays": 0, "drift": {}})
    drift = dict(old["drift"])
    for name in dict.fromkeys(name for replay in replays for name in replay):
        parts = [replay[name] for replay in replays if name in replay]
        before = old["drift"].get(name, {})
        squares = [float((part.mean(1) ** 2).mean()) for part in parts]
        found = {
            "spread": float(np.sqrt(np.mean(squares) if name in (*SCORES, "right") else max(squares))),
            "absolute": max(float(np.abs(part).mean()) for part in parts),
        }
        furthest = max(parts, key=lambda part: abs(float(part.mean())))
        if abs(float(furthest.mean())) > ERRORS * found["spread"] / np.sqrt(len(furthest)):
            found["mean"] = 1.005 * abs(float(furthest.mean()))  # rounding must not make it less than was seen
        if max(found["absolute"], before.get("absolute", 0.0)) > EXACT:
            three = {key: float(f"{number:.3g}") for key, number in found.items()}
            drift[name] = {**before, **{key: max(before.get(key, 0.0), number) for key, number in three.items()}}
    widest = max(float(gain.std(ddof=1)) for gain in gains)
    boards[env_id] = {
        "machines": sorted({*old["machines"], machine}),
        "replays": old["replays"] + len(replays),
        "gain spread": float(f"{widest:.3g}"),
        "drift": drift,
    }
    write_atomically(FILE, (json.dumps(dict(sorted(boards.items())), indent=1) + "\n").encode())
