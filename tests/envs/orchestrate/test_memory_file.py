"""Notebooks that others wrote: every field is checked, and what is none is refused in a sentence."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdgym.envs.orchestrate.memory_file import Note, Notebook, Record

NOTES = [Note(slot, slot, 0, f"advice {slot}", slot, 3, 1.5, 20.0) for slot in range(3)]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks") / "notes.sqlite"


def write(path: Path) -> None:
    path.unlink(missing_ok=True)
    Notebook(path, "Math", "1").save(NOTES, Record(9, 4.5, 60.0))


def load(path: Path) -> tuple[list[Note], Record]:
    return Notebook(path, "Math", "1").load()


def execute(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file:
        for statement in statements:
            file.execute(statement, values)
        file.commit()


SCHEMAS = {
    "a further column": "ALTER TABLE notes ADD COLUMN mood TEXT",
    "a further column of the record": "ALTER TABLE record ADD COLUMN mood TEXT",
    "another name": "ALTER TABLE notes RENAME COLUMN cue TO hint",
    "a further table": "CREATE TABLE more (x)",
    "a table less": "DROP TABLE record",
    "a trigger": "CREATE TRIGGER t AFTER DELETE ON notes BEGIN INSERT INTO record VALUES (1, 1, 1); END",
    "a view": "CREATE VIEW v AS SELECT 1",
    "an index": "CREATE INDEX i ON notes (cue)",
    "another format": "PRAGMA user_version = 7",
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_other_tables_are_refused(schema: str, scratch: Path) -> None:
    write(scratch)
    execute(scratch, SCHEMAS[schema])
    with pytest.raises(ValueError, match="not a notebook of format"):
        load(scratch)


def test_a_view_in_place_of_the_notes_is_not_run(scratch: Path) -> None:
    write(scratch)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    execute(scratch, "DROP TABLE notes", f"CREATE VIEW notes AS {endless}")
    with pytest.raises(ValueError, match="not a notebook of format"):
        load(scratch)


BAD: dict[str, list[Any]] = {
    "whole": ["five", b"\x00", 1.5, -1, 2**60, -(2**63), float("inf")],
    "real": ["five", b"\x00", -0.5, float("inf"), float("-inf"), 1e300],
}
COLUMNS = [("notes", "slot", "whole"), ("record", "tasks", "whole")]
COLUMNS += [("notes", name, "whole") for name in ("cue", "advice", "born", "hits")]
COLUMNS += [(table, name, "real") for table in ("notes", "record") for name in ("reward", "money")]


@pytest.mark.parametrize(("table", "column", "value"), [(t, c, value) for t, c, kind in COLUMNS for value in BAD[kind]])
def test_a_value_of_another_type_or_range_is_named(table: str, column: str, value: Any, scratch: Path) -> None:
    write(scratch)
    if column == "slot" and not isinstance(value, int):
        pytest.skip("SQLite itself refuses that")
    execute(scratch, f"UPDATE {table} SET {column} = ? WHERE rowid = 1", values=(value,))
    with pytest.raises(ValueError, match=f"{column} of the {'note' if table == 'notes' else 'record'}"):
        load(scratch)


@pytest.mark.parametrize("table", ["notes SET says", "world SET name", "world SET edition"])
@pytest.mark.parametrize("value", ["x'ff'", "CAST(x'fffe' AS TEXT)", "CAST(x'eda080' AS TEXT)"])
def test_text_that_is_none_is_refused(table: str, value: str, scratch: Path) -> None:
    write(scratch)
    execute(scratch, f"UPDATE {table} = {value}")
    with pytest.raises(ValueError, match=r"not a notebook|says of the note|notes of the world"):
        load(scratch)


def test_a_second_record_is_refused(scratch: Path) -> None:
    write(scratch)
    execute(scratch, "INSERT INTO record VALUES (1, 1, 1)")
    with pytest.raises(ValueError, match="several records"):
        load(scratch)


@pytest.mark.fuzz
@given(data=st.data())
def test_a_file_changed_at_any_byte_is_refused_or_holds_checked_notes(data: st.DataObject, scratch: Path) -> None:
    write(scratch)
    content = bytearray(scratch.read_bytes())
    place = data.draw(st.integers(0, 120) | st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    scratch.write_bytes(bytes(content))
    with contextlib.suppress(ValueError):
        notes, record = load(scratch)
        assert all(type(note.says) is str and note.hits >= 0 and note.money >= 0 for note in notes)
        assert record.tasks >= 0
