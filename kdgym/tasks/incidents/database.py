"""An incident as a SQLite database, open to queries and closed to changes.

Queries come from students, also from language models that read what intruders wrote into logs, so each one runs fenced in: only
SELECT on the tables there are, a limit on the work it may do (counted in SQLite's virtual-machine instructions and in what
functions read, so that the same query stops at the same place on every machine), on the rows and characters it returns, and
on the size of any value. A limit in seconds is far behind those, for machines that are much slower.
"""

from __future__ import annotations

import contextlib
import math
import re
import sqlite3
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from kdgym.storage import cache_directory, replacing
from kdgym.tasks.base import Split
from kdgym.tasks.incidents.incident import VERSION, Incident, recent_incident
from kdgym.tasks.incidents.schema import TABLES, entity_columns

MOST_ROWS = 50
MOST_WORK = 3_000_000  # virtual-machine instructions; a scan of the largest table takes about 40,000
MOST_CHARACTERS = 1_000_000  # of an answer
_MOST_SECONDS = 30.0
_CHECK_EVERY = 1000
_CALL, _READ = 20, 32  # instructions that a call counts as, and pairs of characters that it compares in one more
_MOST_MEMORY = 2**30  # bytes, of all of SQLite in this process
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 2000,  # bytes of a value, or of a row of a sorter
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 8,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
}
_FUNCTIONS = frozenset(
    (
        "abs avg coalesce count date datetime glob group_concat ifnull iif instr julianday length like lower ltrim max "
        "min nullif replace round rtrim strftime substr substring sum time total trim unixepoch upper"
    ).split()
)
# One call takes as long as all pairs of two arguments' characters, or reads the clock, yet is one instruction to SQLite.
_COMPARING = {
    "glob": 2,
    "instr": 2,
    "like": -1,
    "ltrim": -1,
    "replace": 3,
    "rtrim": -1,
    "trim": -1,
}  # -> arguments, -1 for any
_DATING = ("date", "datetime", "julianday", "strftime", "time", "unixepoch")
_CLOCK = re.compile(r"now|localtime|utc", re.IGNORECASE)
_NOW = re.compile(r"subsec(ond)?", re.IGNORECASE)  # in the place of a time it means now
_NAMED_TWICE = re.compile(
    r"\bwith\b", re.IGNORECASE | re.ASCII
)  # each use is compiled again: exponential, and not counted


class QueryError(ValueError):
    """A query that was refused, failed, or was stopped; the message says which, and what is allowed."""


class Answer(NamedTuple):
    """What a query found.

    Attributes:
        columns: names of the columns.
        rows: the first rows.
        cut: whether there were more, or more than `MOST_CHARACTERS`.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str | int | float | None, ...]]
    cut: bool


class Database:
    """One incident's database, read-only.

    Args:
        path: a file that `open_database` wrote.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        self._connection.execute(f"PRAGMA hard_heap_limit = {_MOST_MEMORY}")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        for limit, value in _LIMITS.items():
            self._connection.setlimit(limit, value)
        self._connection.set_authorizer(_authorise)
        self._connection.set_progress_handler(self._tick, _CHECK_EVERY)
        self._plain = sqlite3.connect(":memory:")
        for name, arguments in {**_COMPARING, **dict.fromkeys(_DATING, -1)}.items():
            self._connection.create_function(name, arguments, self._counted(name), deterministic=True)
        self._work, self._until = 0, math.inf

    def _counted(self, name: str) -> Callable[..., Any]:
        """SQLite's own function of a name, whose work counts and which does not ask for the time."""

        def call(*given: Any) -> Any:
            texts = sorted(len(str(value)) for value in given)
            self._work += _CALL + math.prod(max(length, 1) for length in texts[-2:]) // _READ
            if self._work > MOST_WORK:
                raise QueryError
            dated = [str(value).strip() for value in (given[1:] if name == "strftime" else given)]
            timed = not dated or _NOW.fullmatch(dated[0]) or any(map(_CLOCK.fullmatch, dated))
            if (name in _DATING and timed) or any(isinstance(value, bytes) for value in given):  # bytes may spell now
                raise QueryError
            return self._plain.execute(f"SELECT {name}({', '.join('?' * len(given))})", given).fetchone()[0]

        return call

    def _tick(self) -> bool:
        self._work += _CHECK_EVERY
        return self._work > MOST_WORK or time.monotonic() > self._until

    def query(self, sql: str, parameters: Sequence[str | int | float] = (), most_rows: int = MOST_ROWS) -> Answer:
        """Run one SELECT.

        Args:
            sql: the statement; ``?`` stands for parameters.
            parameters: values for them, never read as SQL.
            most_rows: how many rows to return at most.

        Raises:
            QueryError: the statement is not one SELECT on these tables, has an error, or is too much work.
        """
        if _NAMED_TWICE.search(sql):
            raise QueryError("Refused: the word WITH is not allowed; write subqueries in FROM.")
        self._work, self._until = 0, time.monotonic() + _MOST_SECONDS
        rows: list[tuple[Any, ...]] = []
        left = MOST_CHARACTERS
        try:
            with contextlib.closing(self._connection.execute(sql, parameters)) as cursor:
                if cursor.description is None:
                    raise QueryError("That is no SELECT; the database can only be read.")
                columns = tuple(column[0] for column in cursor.description)
                for row in cursor:
                    left -= sum(len(str(value)) for value in row)
                    rows.append(row)
                    if len(rows) > most_rows or left < 0:
                        break
        except (sqlite3.Error, sqlite3.Warning, MemoryError, OverflowError, UnicodeError) as error:
            raise QueryError(self._explain(error)) from error
        if any(isinstance(v, bytes) or (isinstance(v, float) and not math.isfinite(v)) for row in rows for v in row):
            raise QueryError(
                "The query has an error: its answer has bytes or infinite numbers; ask for text and numbers."
            )
        cut = len(rows) > most_rows or left < 0
        return Answer(columns, rows[:most_rows] if left >= 0 else rows[:-1], cut)

    def _explain(self, error: Exception) -> str:
        if self._work > MOST_WORK or time.monotonic() > self._until:
            return "The query was stopped: it is too much work. Look for less at once, or add a WHERE."
        if "user-defined function" in str(error):
            return "The query has an error: wrong arguments, bytes, or a date of now, localtime or utc."
        if "not authorized" in str(error) or "prohibited" in str(error) or "authorizer" in str(error):
            return f"Refused ({error}): only SELECT on {', '.join(TABLES)} is allowed, with SQLite's plain functions."
        return f"The query has an error: {error}."

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        self._plain.close()


def _authorise(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SELECT on our tables with harmless functions; everything else is refused when the statement is compiled."""
    if action == sqlite3.SQLITE_SELECT:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ:
        return sqlite3.SQLITE_OK if first in TABLES or not first else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION:
        return sqlite3.SQLITE_OK if (second or "").lower() in _FUNCTIONS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_DENY


def incident_path(split: Split, index: int, ending: str) -> Path:
    """Where what was made of an incident is kept."""
    return cache_directory() / "incidents" / f"v{VERSION}" / f"{split}-{index}.{ending}"


def open_database(split: Split, index: int) -> Database:
    """The database of an incident, built on first use and kept in the user's cache."""
    path = incident_path(split, index, "sqlite")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():  # another process may have built it while this one waited
                build_database(recent_incident(split, index), path)
    elif not _sound(path):
        warnings.warn(f"{path} is damaged; the incident's database is built again.", RuntimeWarning, stacklevel=2)
        build_database(recent_incident(split, index), path)
    return Database(path)


def _sound(path: Path) -> bool:
    """Whether a file is one of ours and complete."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as found:
            return bool(found.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def build_database(incident: Incident, path: Path) -> None:
    """Write an incident's database to ``path``, atomically."""
    with replacing(path) as temporary, contextlib.closing(sqlite3.connect(temporary)) as made:
        for table, (columns, _, _) in TABLES.items():
            made.execute(f"CREATE TABLE {table} ({', '.join(f'{column} TEXT' for column in columns)})")
            made.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", incident.rows[table])
            for column in [*entity_columns(table), *(c for c in columns if c in ("time", "alert"))]:
                made.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")
        made.commit()
