"""The investigation world: incidents, their questions, and databases that nobody can harm."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdgym.tasks.base import SPLITS
from kdgym.tasks.incidents import TABLES, Database, Incident, QueryError, Question, ask, make_incident, open_database
from kdgym.tasks.incidents.attacks import ATTACKS, WANTED
from kdgym.tasks.incidents.schema import LOGS, RELATIONS, entity_columns, kind_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def incident() -> Incident:
    return make_incident("train", 0)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    opened = open_database("train", 0)
    yield opened
    opened.close()


def test_an_incident_is_a_pure_function_of_split_and_index(incident: Incident) -> None:
    assert make_incident("train", 0) == incident
    for other in (make_incident("train", 1), make_incident("test", 0), make_incident("validation", 0)):
        assert not set(other.rows["logons"]) & set(incident.rows["logons"])


@pytest.mark.parametrize(("split", "index"), [("exam", 0), ("train", -1)])
def test_other_incidents_do_not_exist(split: str, index: int) -> None:
    with pytest.raises(ValueError, match="choose from train, validation, test"):
        make_incident(split, index)  # type: ignore[arg-type]


def test_the_logs_are_large_and_the_attack_is_small(incident: Incident) -> None:
    assert len(LOGS) >= 8
    assert sum(len(incident.rows[table]) for table in LOGS) >= 20_000
    theirs = {
        name for role, name in incident.entities.items() if role.split(":")[0] not in ("account", "host", "mailbox")
    }
    seen = sum(bool(theirs & set(row)) for table in LOGS for row in incident.rows[table])
    assert len(incident.steps) <= seen <= 3 * len(incident.steps)


@pytest.mark.thorough
def test_every_attack_occurs_and_every_column_has_words() -> None:
    assert {make_incident("train", index).attack for index in range(30)} == set(ATTACKS)
    for steps in ATTACKS.values():
        assert sum(bool(step.alert) for step in steps) >= 3
        for step in steps:
            assert set(step.entities) == set(entity_columns(step.table))
            for column, role in step.entities.items():
                assert role.split(":")[0] == kind_of(step.table, column)
                assert (step.table, column) in WANTED


@pytest.mark.parametrize("split", SPLITS)
def test_solutions_can_be_found_in_the_logs(split: str) -> None:
    """Every hop of every solution: some row has the entity before in the source column and the next in the target's."""
    incident = make_incident(split, 3)  # type: ignore[arg-type]
    beside = {relation: set[tuple[str, str]]() for relation in RELATIONS}
    for relation, pairs in beside.items():
        columns = list(TABLES[relation.table].columns)
        a, b = columns.index(relation.source), columns.index(relation.target)
        pairs.update((row[a], row[b]) for row in incident.rows[relation.table])
    questions = ask(incident)
    assert len(questions) >= 15
    assert {len(question.path) for question in questions} >= {1, 2, 3}
    for question in questions:
        assert question.start in question.text
        assert question.answer not in question.text
        before = question.start
        for hop, entity in zip(question.hops, question.path, strict=True):
            assert (before, entity) in beside[hop]
            before = entity


def test_the_way_is_not_obvious(incident: Incident) -> None:
    """Following a solution from the company's own entities, most rows at hand are somebody else's business."""
    company = [q for q in ask(incident) if q.hops[0].source in ("account", "host") and q.hops[0].table in LOGS]
    columns = {table: list(TABLES[table].columns) for table in LOGS}
    for question in company:
        hop = question.hops[0]
        source, target = (columns[hop.table].index(c) for c in (hop.source, hop.target))
        beside = {row[target] for row in incident.rows[hop.table] if row[source] == question.start}
        assert len(beside) >= 3


def example(path: tuple[str, ...]) -> Question:
    return Question("?", "t", "now", "start", ("logons", "ip"), (), path, "key")


def test_scores_count_back_from_the_answer() -> None:
    question = example(("a", "b", "c"))
    assert question.score("c") == 1
    assert question.score(" C ") == 1
    assert question.score("x") == 0
    assert question.score("x", ["b"]) == pytest.approx(0.4)
    assert question.score("x", ["a"]) == pytest.approx(0.16)
    assert question.score("x", ["a", "b"]) == pytest.approx(0.56)
    assert question.score("x", ["1", "2", "3", "a", "b"]) == 0, "whoever cites everything has found nothing"
    assert question.score("x", ["c"]) == 0, "the answer has to be given as the answer"


@pytest.mark.fuzz
@given(st.lists(st.text(max_size=5), min_size=1, max_size=5, unique=True), st.text(max_size=5), st.lists(st.text()))
def test_scores_stay_below_one_without_the_answer(path: list[str], answer: str, cited: list[str]) -> None:
    question = example(tuple(path))
    score = question.score(answer, cited)
    assert (score == 1) == (answer.strip().lower() == path[-1].strip().lower())
    assert 0 <= score < 0.67 or score == 1


def test_the_database_holds_the_incident(database: Database, incident: Incident) -> None:
    for table, rows in incident.rows.items():
        assert database.query(f"SELECT count(*) FROM {table}").rows == [(len(rows),)]
    question = ask(incident)[0]
    hop = question.hops[0]
    found = database.query(f"SELECT {hop.target} FROM {hop.table} WHERE {hop.source} = ?", [question.start], 10_000)
    assert (question.path[0],) in found.rows
    assert found.columns == (hop.target,)


def test_answers_are_cut_after_some_rows(database: Database) -> None:
    answer = database.query("SELECT * FROM logons", most_rows=7)
    assert (len(answer.rows), answer.cut) == (7, True)
    assert database.query("SELECT * FROM alerts").cut is False


ATTEMPTS = {
    "write": "INSERT INTO logons VALUES ('', '', '', '', '')",
    "update": "UPDATE alerts SET severity = 'none'",
    "delete": "DELETE FROM logons",
    "drop": "DROP TABLE logons",
    "create": "CREATE TABLE mine (x)",
    "temporary table": "CREATE TEMP TABLE mine AS SELECT * FROM logons",
    "attach": "ATTACH '/etc/passwd' AS secrets",
    "detach": "DETACH main",
    "pragma": "PRAGMA writable_schema = 1",
    "pragma function": "SELECT * FROM pragma_table_info('logons')",
    "schema": "SELECT sql FROM sqlite_master",
    "copy": "COPY logons TO '/tmp/x'",
    "vacuum into": "VACUUM INTO '/tmp/kdgym-stolen.sqlite'",
    "file read": "SELECT readfile('/etc/passwd')",
    "extension": "SELECT load_extension('evil')",
    "large blob": "SELECT zeroblob(1000000000)",
    "random blob": "SELECT randomblob(1000000000)",
    "long text": "SELECT printf('%.1000000000c', 'x')",
    "endless recursion": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
    "cross join": "SELECT count(*) FROM logons a, logons b, logons c, logons d",
    "large sort": "SELECT a.* FROM logons a, logons b ORDER BY a.time || b.time",
    "large aggregate": "SELECT group_concat(a.ip || b.ip) FROM logons a, logons b",
    "two statements": "SELECT 1; DROP TABLE logons",
    "transaction": "BEGIN EXCLUSIVE",
    "nothing": "",
    "half a character": "SELECT '\ud800'",
    "zero byte": "SELECT 1\0; DROP TABLE logons",
    "deep expression": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "long statement": "SELECT '" + "x" * 20_000 + "'",
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_database_can_only_be_read_and_not_for_long(database: Database, attempt: str) -> None:
    before = database.query("SELECT count(*), min(time), max(time) FROM logons").rows
    with pytest.raises(QueryError):
        database.query(ATTEMPTS[attempt])
    assert database.query("SELECT count(*), min(time), max(time) FROM logons").rows == before


LONG = "(SELECT substr(group_concat(ip), 1, {n}) FROM (SELECT ip FROM logons LIMIT 130))"
FLOODS = {
    "trim": "SELECT count(trim(x, x)) FROM {logs}, (SELECT {long} AS x)",
    "ltrim": "SELECT count(ltrim(x, x || 'z')) FROM {logs}, (SELECT {long} AS x)",
    "rtrim": "SELECT count(rtrim(x, x)) FROM {logs}, (SELECT {long} AS x)",
    "replace": "SELECT count(replace(x, substr(x, 2), '')) FROM {logs}, (SELECT {long} AS x)",
    "instr": "SELECT sum(instr(x, substr(x, 1, 900) || 'z')) FROM {logs}, (SELECT {long} AS x)",
    "like": "SELECT count(*) FROM {logs}, (SELECT {long} AS x) WHERE x LIKE '%1%1%1%1%1%1%1%1%1%1%1%1%z'",
    "glob": "SELECT count(*) FROM {logs}, (SELECT {long} AS x) WHERE x GLOB '*[0-9]*[0-9]*[0-9]*[0-9]*[0-9]*z'",
    "upper": "SELECT max(upper(lower(x))) FROM {logs}, (SELECT {long} AS x)",
    "concatenation": "SELECT max(x || a.ip || b.ip) FROM {logs}, (SELECT {long} AS x)",
    "window": "SELECT group_concat(a.ip) OVER (ORDER BY a.time ROWS 5 PRECEDING) FROM {logs}",
    "dates": "SELECT count(strftime('%Y-%j-%W', a.time, '+1 day', 'start of month')) FROM {logs}",
    "sort": "SELECT x || a.ip || b.ip AS y FROM {logs}, (SELECT {long} AS x) ORDER BY y",
    "distinct": "SELECT DISTINCT x || a.ip || b.ip FROM {logs}, (SELECT {long} AS x)",
    "rounding": "SELECT sum(round(abs(a.rowid * 1.5), 12)) FROM {logs}",
}


@pytest.mark.parametrize("n", [10, 1800])
@pytest.mark.parametrize("flood", FLOODS)
def test_no_function_runs_for_long(database: Database, flood: str, n: int) -> None:
    begin = time.monotonic()
    with contextlib.suppress(QueryError):
        database.query(FLOODS[flood].format(logs="logons a, logons b", long=LONG.format(n=n)))
    assert time.monotonic() - begin < 20
    assert database.query("SELECT count(*) FROM logons").rows[0][0] > 3000  # type: ignore[operator]


@pytest.mark.parametrize(
    "uses", ["t{0} a, t{0} b", "t{0} a, t{0} b, t{0} c", "(SELECT * FROM t{0} UNION SELECT * FROM t{0}) a"]
)
@pytest.mark.parametrize("number", [5, 30, 150])
def test_names_that_double_what_is_compiled_are_refused(database: Database, uses: str, number: int) -> None:
    named = [f"t{i + 1}(x) AS (SELECT 1 FROM {uses.format(i)})" for i in range(number)]
    for keyword in ("WITH", "with", "wItH"):
        with pytest.raises(QueryError, match="WITH"):
            database.query(f"{keyword} t0(x) AS (SELECT 1), {', '.join(named)} SELECT * FROM t{number}")


@pytest.mark.parametrize("value", ["x'00ff'", "CAST(ip AS BLOB)", "9e999", "-9e999", "CAST(x'ff' AS TEXT)", "x''"])
def test_what_is_no_text_or_number_is_refused(database: Database, value: str) -> None:
    with pytest.raises(QueryError):
        database.query(f"SELECT {value} FROM logons")


@pytest.mark.parametrize(
    "when",
    [
        "'now'",
        "' NOW '",
        "time, 'localtime'",
        "time, 'utc'",
        "",
        "'n' || 'ow'",
        "x'6e6f77'",
        "CAST('now' AS BLOB)",
        "time, CAST('utc' AS BLOB)",
        "'subsec'",
        "'SUBSECOND'",
    ],
)
@pytest.mark.parametrize("function", ["date(", "datetime(", "time(", "julianday(", "unixepoch(", "strftime('%s', "])
def test_no_answer_depends_on_the_clock(database: Database, function: str, when: str) -> None:
    call = f"{function}{when})".replace(", )", ")")
    with pytest.raises(QueryError):
        database.query(f"SELECT {call} FROM logons")


@pytest.mark.parametrize(
    "call",
    """printf('%1000d', 1)/format('%1000d', 1)/zeroblob(9)/hex(zeroblob(9))/randomblob(9)/hex(ip)/quote(ip)/char(65)
    unhex('41')/unicode(ip)/replicate(ip, 9)/soundex(ip)/random()/current_timestamp/current_date/current_time/changes()
    timediff('now', time)/last_insert_rowid()/total_changes()/sqlite_version()/sqlite_source_id()/json_array(ip)
    json_group_array(ip)/string_agg(ip, ',')/group_concat(ip, printf('%999d', 1))/likelihood(1, 0.5)/unistr('a')""".replace(
        "\n    ", "/"
    ).split("/"),
)
def test_other_functions_are_refused(database: Database, call: str) -> None:
    """Those that make long values, name the machine or the moment, or differ between versions of SQLite."""
    with pytest.raises(QueryError):
        database.query(f"SELECT {call} FROM logons")


@pytest.mark.parametrize(
    "call", ["replace(x, ip, x || x)", "group_concat(x)", "x || x", "group_concat(x, x)", "upper(x || 'z')"]
)
def test_no_function_makes_a_long_value(database: Database, call: str) -> None:
    long = LONG.format(n=1900)
    with contextlib.suppress(QueryError):
        rows = database.query(f"SELECT {call} FROM (SELECT {long} AS x, substr(ip, 1, 1) AS ip FROM logons)").rows
        assert max(len(str(value)) for row in rows for value in row) <= 2000


def test_answers_are_cut_after_some_characters(database: Database) -> None:
    long = LONG.format(n=1500)
    answer = database.query(f"SELECT {', '.join(['x'] * 90)} FROM logons, (SELECT {long} AS x)", most_rows=10**6)
    assert answer.cut
    assert 800_000 < sum(len(str(value)) for row in answer.rows for value in row) <= 1_000_000


PLAIN = st.none() | st.integers(-9, 99) | st.floats(-9, 9) | st.text("aAbB %_*?[1.", max_size=12)


@pytest.mark.fuzz
@given(st.lists(PLAIN, min_size=3, max_size=3))
def test_functions_are_those_of_sqlite(values: list[object]) -> None:
    """Counted functions give what uncounted ones do."""
    opened, plain = open_database("train", 0), sqlite3.connect(":memory:")
    calls = "replace(?1, ?2, ?3), trim(?1), trim(?1, ?2), ltrim(?1, ?2), rtrim(?1, ?2), instr(?1, ?2), ?1 LIKE ?2, ?1 GLOB ?2"
    for call in [*calls.split("), "), "date(?1, '+3 days')"]:
        whole = f"SELECT {call if call.count('(') == call.count(')') else call + ')'}, ?1, ?2, ?3"
        assert opened.query(whole, values).rows == plain.execute(whole, values).fetchall()  # type: ignore[arg-type]
    opened.close()
    plain.close()


def test_the_work_limit_is_counted_and_not_timed(database: Database) -> None:
    heavy = "SELECT count(*) FROM logons a JOIN logons b WHERE a.rowid < {} AND a.ip < b.ip"
    assert database.query(heavy.format(20)).rows == database.query(heavy.format(20)).rows
    for _ in range(2):
        with pytest.raises(QueryError, match="too much work"):
            database.query(heavy.format(3000))


@pytest.mark.fuzz
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_what_stands_in_a_log_is_never_executed(value: str) -> None:
    """An intruder may name a file like a statement; as a parameter it stays a name."""
    opened = open_database("train", 0)
    for name in (value, f"'; DROP TABLE logons; --{value}", f"' OR '1'='1{value}"):
        assert opened.query("SELECT * FROM file_events WHERE file = ?", [name]).rows == []
    assert opened.query("SELECT count(*) FROM logons").rows[0][0] > 3000  # type: ignore[operator]
    opened.close()


def test_processes_that_need_one_incident_build_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))

    def count(_: int) -> object:
        opened = open_database("validation", 7)
        try:
            return opened.query("SELECT count(*) FROM logons").rows
        finally:
            opened.close()

    with ThreadPoolExecutor(4) as threads:
        assert len({str(rows) for rows in threads.map(count, range(4))}) == 1
    assert len(list(tmp_path.rglob("*.sqlite"))) == 1
    assert not list(tmp_path.rglob(".*.sqlite*"))


def test_a_damaged_database_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path))
    open_database("train", 0).close()
    path = next(tmp_path.rglob("*.sqlite"))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.warns(RuntimeWarning, match="damaged"):
        opened = open_database("train", 0)
    assert opened.query("SELECT count(*) FROM logons").rows[0][0] > 3000  # type: ignore[operator]
    opened.close()
    with pytest.raises(sqlite3.ProgrammingError):
        opened._connection.execute("SELECT 1")
