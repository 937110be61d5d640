"""One attempt at a question about an incident: the known entities, the possible moves, and the database's answers.

An investigator starts from one entity. A *move* asks the database one of `RELATIONS` about a known entity (the rows nearest in
time to the alert), or answers with one. The features of a move are small numbers, one for each name in `FEATURES`. Text from
logs can do no harm: the SQL is fixed for each relation and takes names as parameters, and features know the usual words only.
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
ANSWER = len(RELATIONS)  # the number of the move that answers, after those of the relations
NOWHERE = len(RELATIONS)  # stands for the relation that the start entity was found by
RelationPath = tuple[int, ...]  # numbers of the relations to follow
Move = tuple[int, int]  # relation or ANSWER, and number of a known entity

_KINDS = list(KINDS)
_RELATION = {relation: number for number, relation in enumerate(RELATIONS)}
WANTED = sorted({solution.wanted for solution in solutions()})
TITLES = sorted({solution.title for solution in solutions()})
_WORDS = sorted(
    {word for table in TABLES.values() for choices in table.details.values() for c in choices for word in c}
)
# Values of features that count: larger ones are cut to the last value.
_SIGHTINGS, _ASKED = 6, 4
_TIMES = 24  # time differences on a logarithmic scale, with a sign
_FREQUENCIES = 10  # powers of two

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
    "sightings": _SIGHTINGS,
    "seen in all": _FREQUENCIES,
    "depth": QUERIES + 1,
    "step": QUERIES + 1,
    "asked": _ASKED,
    "right kind": 2,
    "advice": 4,
    "note": 4,
}
_OFFSETS = np.cumsum([0, *FEATURES.values()])[:-1]
VOCABULARY = sum(FEATURES.values())
_COLUMN = {name: column for column, name in enumerate(FEATURES)}
_OF_ENTITY = list(FEATURES)[: _COLUMN["right kind"]]  # the others are of a move alone


def relation_path(hops: Iterable[Relation]) -> RelationPath:
    """Relations by their numbers."""
    return tuple(_RELATION[hop] for hop in hops)


PATHS = tuple(dict.fromkeys(relation_path(solution.hops) for solution in solutions()))  # advice by its number


def describe(path: RelationPath) -> str:
    """A path in words."""
    return ", then ".join(f"{r.table}: {r.source} -> {r.target}" for r in (RELATIONS[number] for number in path))


def tokens(text: str) -> int:
    """Tokens of a text, estimated at four characters each, as language models' tokenisers make of English and SQL."""
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
    """Rows that a query of an incident's database returns."""
    return _look_up(split, index, str(incident_path(split, index, "sqlite")), sql, parameters)


@lru_cache(maxsize=20_000)
def _look_up(split: Split, index: int, path: str, sql: str, parameters: tuple[str, ...]) -> list[Row]:
    return _OPEN.database(split, index, path).query(sql, parameters, ROWS).rows


class Moves(NamedTuple):
    """The possible next moves.

    Attributes:
        features: of each move, rows of a table of `VOCABULARY` embeddings, int64 [C, len(FEATURES)].
        relation: number of the relation, or ANSWER, int64 [C].
        entity: number of the known entity it is about, int64 [C].
    """

    features: NDArray[np.int64]
    relation: NDArray[np.int64]
    entity: NDArray[np.int64]


@dataclass
class _Entity:
    """A known entity: kind, name, time, relations (``chain``) and entities (``path``) from the start to it, and features."""

    kind: int
    name: str
    minute: float
    chain: RelationPath
    path: tuple[int, ...]
    features: dict[str, int]  # of `_OF_ENTITY`; relation and step are those of a move, and 0 here
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
        self.solution = relation_path(question.hops)
        kind = _SOURCE[self.solution[0]]
        alert = _minute(question.time)
        features = {"start": kind, "wanted": self._wanted, "title": TITLES.index(question.title)}
        features |= {"found by": NOWHERE, "parent found by": NOWHERE + 1}
        features = dict.fromkeys(_OF_ENTITY, 0) | features
        self.entities = [_Entity(kind, question.start, alert, (), (), features)]
        self._alert, self._known, self.queries = alert, {(kind, question.start): 0}, 0
        self._path = [(kind, question.start)]
        self._path += [(_TARGET[hop], name) for hop, name in zip(self.solution, question.path, strict=True)]

    def moves(
        self, note: RelationPath | None = None, advice: RelationPath | None = None, without: Move | None = None
    ) -> Moves:
        """The possible next moves but ``without``; their features depend on a note and a supervisor's advice."""
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
        features[:, : len(_OF_ENTITY)] = np.array([list(known.features.values()) for known in self.entities])[e]
        features[:, _COLUMN["relation"]] = r
        features[:, _COLUMN["step"]] = self.queries
        features[:, _COLUMN["right kind"]] = _LEADS_TO[r] == _WANTED_KIND[self._wanted]
        features[:, _COLUMN["advice"]] = self._on_path(advice, r, e)
        features[:, _COLUMN["note"]] = self._on_path(note, r, e)
        return Moves(features + _OFFSETS, r, e)

    def _on_path(
        self, path: RelationPath | None, relation: NDArray[np.int64], entity: NDArray[np.int64]
    ) -> NDArray[np.int64] | int:
        """0: there is no path; 1: the relation is not on it; 2: it is; 3: it is the next one on it for this entity."""
        if path is None:
            return 0
        full = (*path, ANSWER)
        expected = [full[len(k.chain)] if k.chain == path[: len(k.chain)] else -1 for k in self.entities]
        return np.where(np.array(expected)[entity] == relation, 3, 1 + np.isin(relation, path))

    def right_moves(self) -> set[Move]:
        """Moves along the solution: the answer if it is known, else the next relations of its known entities."""
        at = [self._known.get(place) for place in self._path]
        if at[-1] is not None:
            return {(ANSWER, at[-1])}
        hops = zip(self.solution, at, at[1:], strict=False)
        return {(h, e) for h, e, then in hops if e is not None and then is None and h not in self.entities[e].asked}

    def ask(self, relation: int, entity: int) -> tuple[str, tuple[str, ...], list[Row]]:
        """Ask the database; the entities in its rows become known.

        Returns:
            The SQL, its parameters, and the rows.
        """
        about = self.entities[entity]
        log = RELATIONS[relation].table in LOGS
        parameters = (about.name, self.question.time) if log else (about.name,)
        rows = look_up(self.split, self.index, STATEMENTS[relation], parameters)
        about.asked.append(relation)
        about.features["asked"] = min(len(about.asked), _ASKED - 1)
        self.queries += 1
        names = [str(row[log]) for row in rows]
        for rank, name in enumerate(dict.fromkeys(names)):
            place = (_TARGET[relation], name)
            if place in self._known:
                known = self.entities[self._known[place]].features
                known["sightings"] = min(known["sightings"] + 1, _SIGHTINGS - 1)
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
        features = {
            **before.features,
            "found by": relation,
            "parent found by": before.features["found by"],
            "detail": _WORDS.index(word) + 1 if word in _WORDS else 0,
            "detail of parent": before.features["detail"],
            "minutes from the alert": _bucket(minute - self._alert),
            "minutes from the parent": _bucket(minute - before.minute),
            "rank": rank + 1,
            "rows": names.count(name),
            "rows of others": len(names) - names.count(name),
            "sightings": 0,
            "seen in all": min(int(str(first[3])).bit_length(), _FREQUENCIES - 1) if log else 0,
            "depth": len(chain),
            "asked": 0,
        }
        return _Entity(_TARGET[relation], name, minute, chain, (*before.path, len(self.entities)), features)


@lru_cache(maxsize=100_000)
def _minute(time: str) -> float:
    """Minutes since the beginning of 2026."""
    return (datetime.fromisoformat(time) - datetime(2026, 1, 1)).total_seconds() / 60


def _bucket(minutes: float) -> int:
    """A time difference on a logarithmic scale, with its sign, in [0, `_TIMES`)."""
    size = min(int(np.log2(1 + abs(minutes))), _TIMES // 2 - 2)
    return 1 + 2 * size + (minutes < 0)
