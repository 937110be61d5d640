"""An investigation under way: what is known about an incident, what may be asked next, and what the database answers.

An investigator starts from one entity. A *move* asks the database one of `RELATIONS` about an entity it knows (the rows nearest
in time to the alert), or answers with one. What it knows of a move is a row of small numbers, one a feature of `FEATURES`;
text from the logs reaches neither the SQL, which is fixed for each relation and takes names as parameters, nor the features,
which know the usual words and call everything else "other".
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdgym.tasks.base import Split
from kdgym.tasks.incidents import RELATIONS, TABLES, Database, Question, Relation, open_database, solutions
from kdgym.tasks.incidents.database import incident_path
from kdgym.tasks.incidents.schema import KINDS, LOGS, kind_of

QUERIES = 6  # that an investigator may make before it has to answer
ROWS = 8  # that a query returns at most
ANSWER = len(RELATIONS)  # the move that is no relation
NOWHERE = len(RELATIONS)  # what the entity to start from was found by
Way = tuple[int, ...]  # numbers of relations
Move = tuple[int, int]  # relation or ANSWER, and number of a known entity

_KINDS = list(KINDS)
_RELATION = {relation: number for number, relation in enumerate(RELATIONS)}
WANTED = sorted({solution.wanted for solution in solutions()})
TITLES = sorted({solution.title for solution in solutions()})
_WORDS = sorted(
    {word for table in TABLES.values() for choices in table.details.values() for c in choices for word in c}
)
_MOST_SEEN, _LONGEST = 6, 4
_TIMES = 24
_COMMON = 10

FEATURES = {
    "relation": len(RELATIONS) + 1,
    "found by": len(RELATIONS) + 1,
    "parent found by": len(RELATIONS) + 2,
    "start": len(KINDS),
    "wanted": len(WANTED),
    "title": len(TITLES),
    "detail": len(_WORDS) + 1,
    "detail of parent": len(_WORDS) + 1,
    "minutes from the alert": _TIMES,
    "minutes from the parent": _TIMES,
    "rank": ROWS + 1,
    "rows": ROWS + 1,
    "rows of others": ROWS + 1,
    "sightings": _MOST_SEEN,
    "seen in all": _COMMON,
    "depth": QUERIES + 1,
    "step": QUERIES + 1,
    "asked": _LONGEST,
    "right kind": 2,
    "advice": 4,
    "note": 4,
}
_OFFSETS = np.cumsum([0, *FEATURES.values()])[:-1]
VOCABULARY = sum(FEATURES.values())
_FIRST_OF_MOVE = list(FEATURES).index("right kind")


def way_of(hops: Iterable[Relation]) -> Way:
    """Relations as numbers."""
    return tuple(_RELATION[hop] for hop in hops)


WAYS = tuple(dict.fromkeys(way_of(solution.hops) for solution in solutions()))  # advice by its number


def describe(way: Way) -> str:
    """A way in words."""
    return ", then ".join(f"{r.table}: {r.source} -> {r.target}" for r in (RELATIONS[number] for number in way))


def tokens(text: str) -> int:
    """About as many as a language model's tokeniser makes of English and SQL: four characters each."""
    return -(-len(text) // 4)


def _statement(relation: Relation) -> str:
    table, source, target = relation
    if table not in LOGS:
        return f"SELECT {target} FROM {table} WHERE {source} = ? LIMIT {ROWS}"
    seen = f"(SELECT count(*) FROM {table} AS others WHERE others.{target} = {table}.{target}) AS seen"
    columns = ", ".join(["time", target, *TABLES[table].details, seen])
    return f"SELECT {columns} FROM {table} WHERE {source} = ? ORDER BY abs(unixepoch(time) - unixepoch(?)) LIMIT {ROWS}"


STATEMENTS = tuple(map(_statement, RELATIONS))
_SOURCE, _TARGET = (
    [_KINDS.index(kind_of(r.table, getattr(r, end))) for r in RELATIONS] for end in ("source", "target")
)
_LEADS_TO = np.array([*_TARGET, -1])
_FROM = [np.flatnonzero(np.array(_SOURCE) == kind) for kind in range(len(KINDS))]
_WANTED_KIND = [_KINDS.index(kind_of(*wanted)) for wanted in WANTED]

Row = tuple[str | int | float | None, ...]


class _Open(threading.local):
    """Databases of this thread: a connection to SQLite belongs to one."""

    def __init__(self) -> None:
        self.database = lru_cache(maxsize=64)(_open)


def _open(split: Split, index: int, _: str) -> Database:
    return open_database(split, index)


_OPEN = _Open()


def look_up(split: Split, index: int, sql: str, parameters: tuple[str, ...]) -> list[Row]:
    """The rows that a query of an incident's database returns."""
    return _look_up(split, index, str(incident_path(split, index, "sqlite")), sql, parameters)


@lru_cache(maxsize=20_000)
def _look_up(split: Split, index: int, path: str, sql: str, parameters: tuple[str, ...]) -> list[Row]:
    return _OPEN.database(split, index, path).query(sql, parameters, ROWS).rows


class Moves(NamedTuple):
    """What may be done next.

    Attributes:
        features: of each move, places in a table of `VOCABULARY` rows, int64 [C, len(FEATURES)].
        relation: number of the relation, or ANSWER, int64 [C].
        entity: which of the known entities it is about, int64 [C].
    """

    features: NDArray[np.int64]
    relation: NDArray[np.int64]
    entity: NDArray[np.int64]


@dataclass
class _Entity:
    """Something known: its kind and name, how it was found, and the way from the start (``chain``, through ``path``)."""

    kind: int
    name: str
    minute: float
    chain: Way
    path: tuple[int, ...]
    row: list[int]
    asked: list[int] = field(default_factory=list)


class Investigation:
    """One attempt at a question.

    Args:
        split, index: the incident.
        question: the question.
    """

    def __init__(self, split: Split, index: int, question: Question) -> None:
        self.split, self.index, self.question = split, index, question
        self._wanted = WANTED.index(question.wanted)
        self.solution = way_of(question.hops)
        kind = _SOURCE[self.solution[0]]
        alert = _minute(question.time)
        task = [kind, self._wanted, TITLES.index(question.title)]
        row = [0, NOWHERE, NOWHERE + 1, *task, *[0] * 12]
        self.entities = [_Entity(kind, question.start, alert, (), (), row)]
        self._alert, self._known, self.queries = alert, {(kind, question.start): 0}, 0
        self._path = [(kind, question.start)]
        self._path += [(_TARGET[hop], name) for hop, name in zip(self.solution, question.path, strict=True)]

    def moves(self, note: Way | None = None, advice: Way | None = None, without: Move | None = None) -> Moves:
        """What may be done next, seen in the light of a note and a teacher's advice; ``without`` is ruled out."""
        relation, entity = [], []
        for number, known in enumerate(self.entities):
            options = _FROM[known.kind] if self.queries < QUERIES else _FROM[known.kind][:0]
            if known.asked:
                options = options[~np.isin(options, known.asked)]
            if number and known.kind == _WANTED_KIND[self._wanted]:
                options = np.append(options, ANSWER)
            relation.append(options)
            entity.append(np.full(len(options), number))
        r, e = np.concatenate(relation), np.concatenate(entity)
        if without is not None:
            keep = (r != without[0]) | (e != without[1])
            r, e = r[keep], e[keep]
        features = np.empty((len(r), len(FEATURES)), dtype=np.int64)
        features[:, :_FIRST_OF_MOVE] = np.array([known.row for known in self.entities])[e]
        features[:, 0] = r
        features[:, list(FEATURES).index("step")] = self.queries
        features[:, -3] = _LEADS_TO[r] == _WANTED_KIND[self._wanted]
        features[:, -2] = self._flags(advice, r, e)
        features[:, -1] = self._flags(note, r, e)
        return Moves(features + _OFFSETS, r, e)

    def _flags(
        self, way: Way | None, relation: NDArray[np.int64], entity: NDArray[np.int64]
    ) -> NDArray[np.int64] | int:
        """0 nothing was said, 1 not on the way, 2 on the way, 3 the very next on the way for this entity."""
        if way is None:
            return 0
        full = (*way, ANSWER)
        expected = [full[len(k.chain)] if k.chain == way[: len(k.chain)] else -1 for k in self.entities]
        return np.where(np.array(expected)[entity] == relation, 3, 1 + np.isin(relation, way))

    def right_moves(self) -> set[Move]:
        """Moves that lead on along the solution: the answer if it is known, else the next step from what is known of it."""
        at = [self._known.get(place) for place in self._path]
        if at[-1] is not None:
            return {(ANSWER, at[-1])}
        hops = zip(self.solution, at, at[1:], strict=False)
        return {(h, e) for h, e, then in hops if e is not None and then is None and h not in self.entities[e].asked}

    def ask(self, relation: int, entity: int) -> tuple[str, tuple[str, ...], list[Row]]:
        """Ask the database, and learn from its rows.

        Returns:
            The SQL, its parameters, and the rows.
        """
        about = self.entities[entity]
        log = RELATIONS[relation].table in LOGS
        parameters = (about.name, self.question.time) if log else (about.name,)
        rows = look_up(self.split, self.index, STATEMENTS[relation], parameters)
        about.asked.append(relation)
        about.row[-1] = min(len(about.asked), _LONGEST - 1)
        self.queries += 1
        names = [str(row[log]) for row in rows]
        for rank, name in enumerate(dict.fromkeys(names)):
            place = (_TARGET[relation], name)
            if place in self._known:
                seen = self.entities[self._known[place]].row
                seen[13] = min(seen[13] + 1, _MOST_SEEN - 1)
            else:
                self._known[place] = len(self.entities)
                self.entities.append(self._found(relation, entity, name, rank, names, rows))
        return STATEMENTS[relation], parameters, rows

    def _found(self, relation: int, parent: int, name: str, rank: int, names: list[str], rows: list[Row]) -> _Entity:
        before, first = self.entities[parent], rows[names.index(name)]
        log = RELATIONS[relation].table in LOGS
        minute = _minute(str(first[0])) if log else before.minute
        word = str(first[2]) if log else ""
        chain = (*before.chain, relation)
        row = [
            0,
            relation,
            before.row[1],
            *before.row[3:6],
            _WORDS.index(word) + 1 if word in _WORDS else 0,
            before.row[6],
            _bucket(minute - self._alert),
            _bucket(minute - before.minute),
            rank + 1,
            names.count(name),
            len(names) - names.count(name),
            0,
            min(int(str(first[3])).bit_length(), _COMMON - 1) if log else 0,
            len(chain),
            0,
            0,
        ]
        return _Entity(_TARGET[relation], name, minute, chain, (*before.path, len(self.entities)), row)


@lru_cache(maxsize=100_000)
def _minute(time: str) -> float:
    """Minutes since some day."""
    return (datetime.fromisoformat(time) - datetime(2026, 1, 1)).total_seconds() / 60


def _bucket(minutes: float) -> int:
    """A time difference on a logarithmic scale, with its sign, in [0, `_TIMES`)."""
    size = min(int(np.log2(1 + abs(minutes))), _TIMES // 2 - 2)
    return 1 + 2 * size + (minutes < 0)
