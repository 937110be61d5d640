"""A memory as a file: one SQLite database, written in transactions, so that a crash loses at most the note being written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_FORMAT = 2
_TABLES = {
    "world": "CREATE TABLE world (name TEXT NOT NULL, edition TEXT NOT NULL)",
    "record": "CREATE TABLE record (tasks INTEGER NOT NULL, reward REAL NOT NULL, money REAL NOT NULL)",
    "notes": "CREATE TABLE notes (slot INTEGER PRIMARY KEY, cue INTEGER NOT NULL, advice INTEGER NOT NULL, "
    "says TEXT NOT NULL, born INTEGER NOT NULL, hits INTEGER NOT NULL, reward REAL NOT NULL, money REAL NOT NULL)",
}
_LARGEST = 2**53  # of whole numbers: far from where sums of them overflow


class Note(NamedTuple):
    """One note.

    Attributes:
        slot: its place in the memory.
        cue, advice: numbers of the world's cue and advice.
        says: the advice in words.
        born: tasks that had been done when it was written.
        hits: tasks it was shown for; ``reward``, ``money``: sums of their judged scores and costs.
    """

    slot: int
    cue: int
    advice: int
    says: str
    born: int
    hits: int
    reward: float
    money: float


class Record(NamedTuple):
    """All tasks since the memory was empty: how many, and sums of their judged scores and costs."""

    tasks: int = 0
    reward: float = 0.0
    money: float = 0.0


class Notebook:
    """The notes of one student.

    Args:
        path: the file; made if there is none.
        world, edition: that the notes belong to.

    Raises:
        ValueError: the file is not a notebook, or one of another world or edition.
    """

    def __init__(self, path: Path, world: str, edition: str) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._open() as file:
                version = file.execute("PRAGMA user_version").fetchone()[0]
                own = dict(file.execute("SELECT name, sql FROM sqlite_master").fetchall())
                # These tables word for word, or none: no view, trigger or computed column, which would run others' SQL.
                if own and (own != _TABLES or version != _FORMAT):
                    raise ValueError(f"{path} is a database, but not a notebook of format {_FORMAT}.")
                for table in _TABLES.values() if not own else ():
                    file.execute(table)
                file.execute(f"PRAGMA user_version = {_FORMAT}")
                found = file.execute("SELECT name, edition FROM world").fetchone()
                if found is None:
                    file.execute("INSERT INTO world VALUES (?, ?)", (world, edition))
        except (sqlite3.DatabaseError, UnicodeError) as error:
            raise ValueError(f"{path} is not a notebook: {error}.") from error
        if found not in (None, (world, edition)):
            raise ValueError(
                f"{path} has notes of the world {found[0]!r}, edition {found[1]}; here is {world!r}, edition {edition}."
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction: what happens inside is written as a whole, or not at all."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = FULL")
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")

    def save(self, notes: Sequence[Note], record: Record) -> None:
        """Replace what the notebook holds."""
        with self._open() as file:
            for table in ("record", "notes"):
                file.execute(f"DELETE FROM {table}")
            file.execute("INSERT INTO record VALUES (?, ?, ?)", record)
            file.executemany("INSERT INTO notes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", notes)

    def load(self) -> tuple[list[Note], Record]:
        """What the notebook holds: notes by slot, and the record that they are compared with.

        Raises:
            ValueError: the file is damaged, or holds what no memory does.
        """
        try:
            with self._open() as file:
                records = file.execute("SELECT * FROM record LIMIT 2").fetchall() or [Record()]
                rows = file.execute("SELECT * FROM notes ORDER BY slot").fetchall()
        except (sqlite3.DatabaseError, UnicodeError) as error:
            raise ValueError(f"{self.path} is not a notebook: {error}.") from error
        if len(records) > 1:
            raise ValueError(f"{self.path} has several records; a notebook has one.")
        notes, record = [Note(*row) for row in rows], Record(*records[0])
        self._check(record, "record")
        for note in notes:
            self._check(note, f"note {note.slot!r:.40}")
        return notes, record

    def _check(self, entry: Note | Record, where: str) -> None:
        given: dict[str, Any] = entry._asdict()
        for name, value in given.items():
            kind = {"says": str, "reward": float, "money": float}.get(name, int)
            number: Any = 0 if kind is str else value
            if type(value) is not kind or not 0 <= number <= _LARGEST:
                what = "text" if kind is str else f"a number from 0 to {_LARGEST}" + ", whole" * (kind is int)
                raise ValueError(f"{self.path}: {name} of the {where} is {value!r:.80}; expected {what}.")
