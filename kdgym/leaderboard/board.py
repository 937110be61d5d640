"""Boards: the records of one environment, compared with each other, and as a page of Markdown.

Pages show, and compute with, what is verified. A folder with ``verifiers.json`` names the verifiers whose badges count. A
record that has not passed level 1 there is a claim: it is shown in its place, has no rank, and moves nothing of the others.
Controls and upper bounds, which others are measured by, are kdgym's own records. A folder without that file is private:
all its records count as they are, and its pages say so.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from kdgym.evaluation import NO_TEACHING
from kdgym.evaluation.statistics import (
    Interval,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    smallest_detectable_difference,
)
from kdgym.leaderboard.badges import VERIFIERS, Logged, found_gain, known_verifiers, read_log, trusted_badges
from kdgym.leaderboard.names import OWN, markdown
from kdgym.leaderboard.record import LEVELS, Badge, Kind, Record, load_record
from kdgym.leaderboard.submit import fits_board
from kdgym.registration import Entry, environments, find
from kdgym.storage import write_atomically
from kdgym.untrusted import printable

_RERUN = 32  # students of a re-run whose badge does not say how many they were
_NORMAL = 1.96  # half of a 95 % interval, in standard errors


@dataclass(frozen=True)
class Trust:
    """Whose findings count on the boards of a folder.

    Attributes:
        verifiers: public key -> name.
        log: all that they found.
        private: there are none, so records count as they are.
    """

    verifiers: Mapping[str, str]
    log: Sequence[Logged]
    private: bool

    @classmethod
    def read(cls, folder: Path) -> Trust:
        """That of a folder.

        Raises:
            ValueError: its table of verifiers or its log is damaged.
        """
        return cls(known_verifiers(folder), read_log(folder), not (folder / VERIFIERS).is_file())


@dataclass(frozen=True)
class Submission:
    """A record, and what verifiers say of it.

    Attributes:
        record: what was submitted.
        file: its name.
        badges: those that count, by level.
        private: see `Trust`.
    """

    record: Record
    file: str
    badges: Sequence[Badge]
    private: bool

    @property
    def kind(self) -> str:
        """Of the agent."""
        return self.record.agent.kind

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """Of the students, [S]."""
        return np.array(self.record.outcome.after)

    @property
    def is_own(self) -> bool:
        """Whether it is of kdgym's own agents that stand on the board: a control, say, or an upper bound."""
        agent = self.record.agent
        return agent.authors == [OWN] and (agent.name, agent.kind) in standing(self.record.env_id)

    @property
    def is_base(self) -> bool:
        """Whether it is the control that differences are taken to."""
        return self.is_own and self.record.agent.name == find(self.record.env_id).controls[0]

    @property
    def counts(self) -> bool:
        """Whether it has passed level 1, and failed neither this nor level 0, so that others may be compared with it."""
        found = {(badge.level, badge.passed) for badge in self.badges}
        return self.private or ((1, True) in found and not found & {(0, False), (1, False)})

    @property
    def is_ranked(self) -> bool:
        """Whether it has a rank; a failed level 2 needs the numbers by which it is ranked instead of its claim."""
        failed = any(badge.level >= 2 and not badge.passed for badge in self.badges)
        return self.counts and self.kind not in ("oracle", "human") and not (failed and self.found is None)

    @property
    def leads(self) -> bool:
        """Whether others may have a lower rank for it: what was replayed only may know the board's students by heart."""
        return self.private or self.is_own or any(badge.level == 2 and badge.passed for badge in self.badges)

    @property
    def found(self) -> float | None:
        """What new students gained at level 2; None of the control, whose gain is 0."""
        return self._rerun[1] if self._rerun else None

    @property
    def shift(self) -> float:
        """By how much new students gained less than is claimed: 0, or below."""
        return min(0.0, self._rerun[1] - self._rerun[0]) if self._rerun else 0.0

    @property
    def standing(self) -> float:
        """The mean score, as claimed or as new students let expect, whichever is lower: rows are in this order."""
        return float(self.scores.mean()) + self.shift

    @property
    def _rerun(self) -> tuple[float, float] | None:
        """Claimed and found gain of level 2, where several verifiers looked those that are furthest below each other."""
        pairs = [pair for badge in self.badges if (pair := found_gain(badge))]
        return None if self.is_base else min(pairs, key=lambda pair: pair[1] - pair[0], default=None)

    @property
    def iqm(self) -> float:
        """Interquartile mean."""
        return interquartile_mean(self.scores)

    @property
    def badge(self) -> str:
        """The highest level that was passed, or that it is a claim; and whether a finding disputes it."""
        passed = [badge.level for badge in self.badges if badge.passed and badge.level]
        return (LEVELS[max(passed)] if passed else "claimed") + (", disputed" if self.reason else "")

    @property
    def reason(self) -> str:
        """Of a dispute: what was found."""
        return next((badge.finding or "no reason given" for badge in self.badges if not badge.passed), "")

    @property
    def finding(self) -> str:
        """What the highest level found, in words."""
        return self.badges[-1].finding if self.badges else ""

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
class Row(Submission):
    """A submission's place on its board.

    Attributes:
        rank: of its group: those whose difference to the group's best cannot be distinguished from 0 share a rank. None of
            oracles, persons, claims, and of what failed a level below 2.
        gain: paired difference to the board's control on the same students, as claimed; None of that control.
        headroom: share of the way from the control to the best oracle, by `standing`; None if there is none, and of persons.
        better: probability that a student learns more than with the next row that counts, or None.
    """

    rank: int | None
    gain: Interval | None
    headroom: float | None
    better: float | None

    @property
    def place(self) -> str:
        """The rank as shown: a star of oracles, a dash of others without one."""
        return str(self.rank) if self.rank else "*" if self.kind == "oracle" else "-"


@dataclass(frozen=True)
class Board:
    """All records of one environment.

    Attributes:
        entry: the environment.
        rows: best first, persons aside.
        persons: rows of human teachers, who teach the board's first few students; most gain first.
        private: see `Trust`.
    """

    entry: Entry
    rows: list[Row]
    persons: list[Row]
    private: bool

    @property
    def control_name(self) -> str:
        """Whom differences are taken to."""
        return self.entry.controls[0]

    @property
    def control(self) -> Row:
        """The row of that control."""
        return next(row for row in self.rows if row.is_base)

    @property
    def detectable(self) -> float:
        """Smallest difference to the control that is detected in four of five cases, median over the rows that count."""
        spreads = [row.scores - self.control.scores for row in self.rows if row.counts and not row.is_base]
        return float(np.median([smallest_detectable_difference(x) for x in spreads])) if spreads else 0.0

    @property
    def kinds(self) -> list[str]:
        """Kinds of agents that are there."""
        return sorted({row.kind for row in self.rows})


def where_boards_are(env_id: str) -> str:
    """What to do where there are none."""
    return (
        "The boards are in kdgym's repository: run this in a clone of it, or name its folder (--boards CLONE/leaderboards). "
        f"kdgym leaderboard fill --ids {env_id} makes a board anew, which takes minutes to hours."
    )


def read_boards(folder: Path, ids: Collection[str] = ()) -> list[Board]:
    """The boards that have records; only some, if ids are given.

    Raises:
        ValueError: there are none; or files are no records of their boards, which are all named; see also `read_board`.
    """
    chosen = {find(env_id).id for env_id in ids}
    wanted = [e.id for e in environments() if e.id in chosen or (not ids and any((folder / e.id).glob("*.json")))]
    if not wanted:
        raise ValueError(f"There are no boards in {printable(folder)}. {where_boards_are('ID')}")
    problems = [problem for env_id in wanted for problem in _load(folder, env_id)[1]]
    if problems:
        raise ValueError(
            f"{len(problems)} files are not records of their boards; move them away to build the pages. "
            + " ".join(problems)
        )
    trust, boards = Trust.read(folder), []
    for env_id in wanted:
        rows = read_board(folder, env_id, trust)
        teachers, persons = ([row for row in rows if (row.kind == "human") is human] for human in (False, True))
        boards.append(Board(find(env_id), teachers, persons, trust.private))
    return boards


def _load(folder: Path, env_id: str) -> tuple[dict[str, Record], list[str]]:
    """The records of a board by their files' names, and what is wrong with other files, in sentences."""
    records, problems = {}, []
    for path in sorted((folder / env_id).glob("*.json")):
        place = f"{env_id}/{printable(path.name, 120)}"
        try:
            record = load_record(path)
        except ValueError as error:
            problems.append(f"{env_id}: {error}")
            continue
        if record.env_id != env_id or not fits_board(env_id, record.outcome.seeds, record.agent.kind):
            problems.append(f"{place} is a record of {record.env_id}, or of other students.")
        elif path.name != record.file_name():
            problems.append(f"{place} has the name of another record; it belongs into {record.file_name()}.")
        else:
            records[path.name] = record
    return records, problems


def read_board(folder: Path, env_id: str, trust: Trust | None = None) -> list[Row]:
    """The records of a board, best first, and then those of persons.

    Args:
        folder: of the boards.
        env_id: the board.
        trust: of the folder; read, if it is not given.

    Raises:
        ValueError: a file is no record of this board; or the control is missing, or is not verified.
    """
    records, problems = _load(folder, env_id)
    if problems:
        raise ValueError(" ".join(problems))
    trust = trust or Trust.read(folder)
    there = [
        Submission(record, file, trusted_badges(record, trust.log, trust.verifiers), trust.private)
        for file, record in records.items()
    ]
    base = next((one for one in there if one.is_base), None)
    if base is None:
        name = find(env_id).controls[0]
        raise ValueError(
            f"{printable(folder / env_id)} has no record of its control {name}. {where_boards_are(env_id)}"
        )
    if not base.counts:
        raise ValueError(
            f"The control {base.record.agent.name} of {env_id} has not passed level 1, and all others are measured by it. "
            f"Verify it: kdgym leaderboard fill --ids {env_id} --level 1."
        )
    persons = [one for one in there if one.kind == "human"]
    teachers = sorted((one for one in there if one.kind != "human"), key=lambda one: -one.standing)
    alone = [Row(**vars(one), rank=None, gain=_difference(one, base), headroom=None, better=None) for one in persons]
    return [*_rows(teachers, base), *sorted(alone, key=lambda row: -row.gain.mean if row.gain else 0.0)]


def _rows(ordered: Sequence[Submission], base: Submission) -> Iterator[Row]:
    oracles = [one.standing for one in ordered if one.kind == "oracle" and one.is_own and one.counts]
    room = max(oracles, default=base.standing) - base.standing
    lead, rank, leaders = None, 1, 0
    for place, one in enumerate(ordered):
        mine = None
        if one.is_ranked:
            is_lower = lead is not None and _is_ahead(lead, one, base)
            mine = leaders + 1 if is_lower else rank
            leaders += one.leads
            if one.leads and (lead is None or is_lower):
                lead, rank = one, mine
        below = next((other for other in ordered[place + 1 :] if other.counts), None)
        yield Row(
            **vars(one),
            rank=mine,
            gain=None if one.is_base else _difference(one, base),
            headroom=(one.standing - base.standing) / room if room > 0 else None,
            better=probability_of_improvement(one.scores, below.scores) if one.counts and below else None,
        )


def _difference(one: Submission, other: Submission) -> Interval:
    """Paired, over the students that both have taught: persons teach the first few."""
    both = min(len(one.scores), len(other.scores))
    return mean_interval(one.scores[:both] - other.scores[:both])


def _is_ahead(lead: Submission, one: Submission, base: Submission) -> bool:
    """Whether the difference of two standings is above 0 by its 95 % interval: that of the paired scores, and where a re-run
    lowers a standing that of the re-run too."""
    claims = _difference(lead, one)
    reach = np.hypot(claims.mean - claims.low, np.hypot(_doubt(lead, base), _doubt(one, base)))
    return bool(claims.mean + lead.shift - one.shift > reach)


def _doubt(one: Submission, base: Submission) -> float:
    """Half the interval of the new students' mean gain; 0 where the claim is the lower one."""
    if not one.shift:
        return 0.0
    stated = [badge.students for badge in one.badges if badge.students is not None]
    students = min(stated, default=min(_RERUN, len(one.scores)))
    return float(_NORMAL * np.std(one.scores - base.scores, ddof=1) / np.sqrt(students))


def copies(records: Mapping[str, Record]) -> list[str]:
    """Records of a board that repeat others' under other authors: the same actions with the same scores, or the same code.

    Code is the same only with the same weights, language model and settings.

    Args:
        records: file's name -> record.

    Returns:
        A sentence for each copy; of equal ones the original is kdgym's, or else the oldest.
    """
    groups: dict[tuple[Hashable, ...], list[str]] = defaultdict(list)
    for file in sorted(records, key=lambda file: (records[file].agent.authors != [OWN], records[file].day, file)):
        record, agent = records[file], records[file].agent
        groups["actions and scores", record.trace, tuple(record.outcome.after)].append(file)
        if agent.sha256 or agent.weights:
            settings = tuple(agent.settings.items())
            groups["code", agent.sha256, agent.weights, agent.model, settings].append(file)
    return [
        f"{printable(file, 120)} has the {what[0]} of {printable(first, 120)}, which is by other authors."
        for what, (first, *others) in groups.items()
        for file in others
        if records[file].agent.authors != records[first].agent.authors
    ]


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
    pages = Environment(
        loader=PackageLoader("kdgym.leaderboard", "."), autoescape=False, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters["markdown"] = markdown
    template = pages.get_template("boards.md.jinja")
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
