"""Boards: the records of one environment, compared with each other, and as a page of Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from kdgym.evaluation import NO_TEACHING
from kdgym.evaluation.statistics import (
    Interval,
    Scores,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    smallest_detectable_difference,
)
from kdgym.leaderboard.record import LEVELS, Record, load_record
from kdgym.leaderboard.submit import Kind, fits_board
from kdgym.registration import Entry, environments, find
from kdgym.storage import write_atomically


@dataclass(frozen=True)
class Row:
    """A record's place on its board.

    Attributes:
        record: the submission.
        file: its name.
        rank: of its group: those whose paired interval to the group's best includes 0 share a rank; None of oracles.
        gain: paired difference to the board's first control, or None for that control.
        headroom: share of the way from that control to the best oracle, or None if there is none.
        better: probability that a student learns more than with the row below, or None.
    """

    record: Record
    file: str
    rank: int | None
    gain: Interval | None
    headroom: float | None
    better: float | None

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Of the students, [S]."""
        return np.array(self.record.outcome.after)

    @property
    def iqm(self) -> float:
        """Interquartile mean."""
        return interquartile_mean(self.scores)

    @property
    def badge(self) -> str:
        """The highest level that was passed, and whether somebody disputes it."""
        passed = [badge.level for badge in self.record.badges if badge.passed]
        return ", ".join([*([LEVELS[max(passed)]] if passed else []), *(["disputed"] if self.reason else [])])

    @property
    def reason(self) -> str:
        """Of a dispute: what was found."""
        return next((badge.finding or "no reason given" for badge in self.record.badges if not badge.passed), "")

    @property
    def finding(self) -> str:
        """What the highest level found, in words: at level 2 what new students gained, beside the claim."""
        return max(self.record.badges, key=lambda badge: badge.level).finding if self.record.badges else ""

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return self.file.removesuffix(".json")

    @property
    def flops(self) -> float:
        """Of a student's training."""
        return float(np.mean(self.record.outcome.cost["student_training"]["flops"]))

    @property
    def money(self) -> float:
        """Spending of all actors, a student."""
        return sum(float(np.mean(units["money"])) for units in self.record.outcome.cost.values())

    @property
    def tokens(self) -> float:
        """The teacher's, a student."""
        return float(np.mean(self.record.outcome.cost["teacher"]["tokens"]))

    @property
    def area(self) -> float:
        """Under the learning curve (validation score), mean over steps and students."""
        curve = np.array(self.record.outcome.curve)
        return float(curve.mean() if curve.shape[1] == 1 else (curve[:, 1:] + curve[:, :-1]).mean() / 2)


@dataclass(frozen=True)
class Board:
    """All records of one environment.

    Attributes:
        entry: the environment.
        rows: best first.
        detectable: smallest difference to the control that is detected in four of five cases, median over the rows.
    """

    entry: Entry
    rows: list[Row]
    detectable: float

    @property
    def control_name(self) -> str:
        """Whom differences are taken to."""
        return self.entry.controls[0]

    @property
    def is_old(self) -> bool:
        """Whether there is a newer version of the environment."""
        stem, _, version = self.entry.id.rpartition("-v")
        others = [entry.id.rpartition("-v") for entry in environments()]
        return any(other == stem and int(number) > int(version) for other, _, number in others)

    @property
    def kinds(self) -> list[str]:
        """Kinds of agents that are there."""
        return sorted({row.record.agent.kind for row in self.rows})


def where_boards_are(env_id: str) -> str:
    """What to do where there are none."""
    return (
        "The boards are in kdgym's repository: run this in a clone of it, or name its folder (--boards CLONE/leaderboards). "
        f"kdgym leaderboard fill --ids {env_id} makes a board anew, which takes minutes to hours."
    )


def read_boards(folder: Path, ids: Collection[str] = ()) -> list[Board]:
    """The boards that have records; only some, if ids are given.

    Raises:
        ValueError: there are none; see also `read_board`.
    """
    boards, chosen = [], {find(env_id).id for env_id in ids}
    for entry in environments():
        if entry.id in chosen or (not ids and any((folder / entry.id).glob("*.json"))):
            rows = read_board(folder, entry.id)
            control = next(row.scores for row in rows if row.gain is None)
            spreads = [row.scores - control for row in rows if row.gain is not None and len(row.scores) == len(control)]
            detectable = float(np.median([smallest_detectable_difference(x) for x in spreads])) if spreads else 0.0
            boards.append(Board(entry, rows, detectable))
    if not boards:
        raise ValueError(f"There are no boards in {folder}. {where_boards_are('ID')}")
    return boards


def read_board(folder: Path, env_id: str) -> list[Row]:
    """The records of a board, best first.

    Raises:
        ValueError: a file is no record, or one of another board; or the control is missing.
    """
    records = {path.name: load_record(path) for path in sorted((folder / env_id).glob("*.json"))}
    for name, record in records.items():
        if record.env_id != env_id or not fits_board(env_id, record.outcome.seeds, record.agent.kind):
            raise ValueError(f"{folder / env_id / name} is a record of {record.env_id}, or of other students.")
    control = find(env_id).controls[0]
    base = [
        np.array(r.outcome.after) for r in records.values() if r.agent.kind == "control" and r.agent.name == control
    ]
    if not base:
        raise ValueError(f"{folder / env_id} has no record of its control {control}. {where_boards_are(env_id)}")
    ordered = sorted(records.items(), key=lambda item: -float(np.mean(item[1].outcome.after)))
    oracles = [float(np.mean(r.outcome.after)) for r in records.values() if r.agent.kind == "oracle"]
    return list(_rows(ordered, base[0], control, max(oracles, default=None)))


def _rows(
    ordered: Sequence[tuple[str, Record]], base: npt.NDArray[np.float64], control: str, oracle: float | None
) -> Iterator[Row]:
    rank, best, seen = 0, base, 0
    for place, (file, record) in enumerate(ordered):
        scores, mine = np.array(record.outcome.after), None
        if record.agent.kind != "oracle":
            seen += 1
            if rank == 0 or _difference(best, scores).low > 0:
                rank, best = seen, scores
            mine = rank
        below = np.array(ordered[place + 1][1].outcome.after) if place + 1 < len(ordered) else None
        is_control = record.agent.kind == "control" and record.agent.name == control
        room = None if oracle is None else oracle - float(base.mean())
        yield Row(
            record,
            file,
            mine,
            None if is_control else _difference(scores, base),
            None if room is None or room <= 0 else float((scores - base[: len(scores)]).mean()) / room,
            None if below is None else probability_of_improvement(*_both(scores, below)),
        )


def _both(one: Scores, other: Scores) -> tuple[Scores, Scores]:
    """Of the students that both have taught; persons teach the first few."""
    both = min(len(one), len(other))
    return one[:both], other[:both]


def _difference(one: Scores, other: Scores) -> Interval:
    """Paired, over the students that both have taught."""
    first, second = _both(one, other)
    return mean_interval(first - second)


def standing(env_id: str) -> list[tuple[str, Kind]]:
    """The agents that stand on every board: no teaching, controls, the published rule, other packaged rules, oracles."""
    entry = find(env_id)
    kinds: list[tuple[str, Kind]] = [(NO_TEACHING, "control"), *((name, "control") for name in entry.controls)]
    kinds += [(entry.published, "published"), *((name, "rule") for name in entry.teachers)]
    return list(dict(reversed([*kinds, *((name, "oracle") for name in entry.upper_bounds)])).items())[::-1]


def build(folder: Path, ids: Collection[str] = (), out: Path | None = None) -> list[str]:
    """Write ``README.md`` with a table for every board that has records, and ``schema.json``, what a record is.

    Args:
        folder: of the boards.
        ids: whose tables are written anew, those of other boards stay; all, if none is given.
        out: where they are written, if not in the folder itself.

    Returns:
        The ids of the boards that were read.

    Raises:
        ValueError: see `read_boards`.
    """
    boards, page = read_boards(folder, ids), (out or folder) / "README.md"
    template = Environment(
        loader=PackageLoader("kdgym.leaderboard", "."), autoescape=False, undefined=StrictUndefined, trim_blocks=True
    ).get_template("boards.md.jinja")
    waiting = [entry.id for entry in environments() if not any((folder / entry.id).glob("*.json"))]
    head, tables = _tables(template.render(boards=boards, waiting=waiting))
    if ids and page.is_file():
        tables = {**_tables(page.read_text(encoding="utf-8"))[1], **tables}
    known = [entry.id for entry in environments() if entry.id in tables]
    text = "\n\n".join([head, *(tables[env_id] for env_id in dict.fromkeys([*known, *tables]))]) + "\n"
    write_atomically(page, text.encode())
    write_atomically(page.with_name("schema.json"), (json.dumps(Record.model_json_schema(), indent=1) + "\n").encode())
    return [board.entry.id for board in boards]


def _tables(page: str) -> tuple[str, dict[str, str]]:
    """What stands above the boards on a page, and the part of each, by its id."""
    head, *parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    return head.strip("\n"), {part.split()[1]: part.strip("\n") for part in parts}
