"""Records of strangers: what pages cannot show is refused when it is read, and nothing counts that no verifier has found."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import ValidationError
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.core.ledger import ACTORS, UNITS
from kdgym.leaderboard.badges import KEY, Finding, append, award
from kdgym.leaderboard.board import Row, build, copies, read_board, read_boards
from kdgym.leaderboard.names import fold, markdown, require_free, reserved
from kdgym.leaderboard.record import AgentCard, Badge, Conditions, Disclosures, Outcome, Record, load_record
from kdgym.leaderboard.site import build_site
from kdgym.leaderboard.submit import board_seeds, make_record
from kdgym.leaderboard.trace import Trace, write_trace

ID = "kdgym/DataGen-Math-v0"
FEW = 3  # students of a board here, see conftest
MAINTAINER, STRANGER = "ab" * 32, "cd" * 32  # keys
STEPS = [np.full((FEW, 4), 0.5), np.zeros((FEW, 4))]


def made(name: str = "mine", *authors: str, kind: Any = "rule", after: tuple[float, ...] = (0.3, 0.5, 0.4)) -> Record:
    """A record that fits the schema; no environment was asked."""
    students = len(after)
    outcome = Outcome(
        seeds=board_seeds(ID)[:students],
        before=[0.1] * students,
        after=list(after),
        right=[[1, 2]] * students,
        asked=[[4, 4]] * students,
        curve=[[0.1, 0.2, 0.3]] * students,
        cost={actor: {unit: [1.0] * students for unit in UNITS} for actor in ACTORS},
    )
    return Record(
        env_id=ID,
        day="2026-11-30",
        agent=AgentCard(name=name, authors=list(authors or ("Ada",)), kind=kind, source=None, sha256=None),
        conditions=Conditions(
            kdgym="0.1", python="3.11", torch="2", numpy="2", threads=1, device="cpu", processor="an abacus"
        ),
        outcome=outcome,
        trace=write_trace([step[:students] for step in STEPS], spaces.Box(-1, 1, (4,)), students),
        disclosures=Disclosures(),
    )


def put(folder: Path, record: Record) -> Path:
    path = folder / ID / record.file_name()
    record.save(path)
    return path


def signed(record: Record, key: str, *findings: tuple[int, Finding]) -> Record:
    """With badges by a key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, key)
        for level, finding in findings:
            record = award(record, level, finding)
    return record


REPLAYED = (1, Finding(True, "replayed"))
OWN = [
    ("uniform", "control", (0.2, 0.3, 0.1)),
    ("stat", "published", (0.4, 0.5, 0.2)),
    ("informed", "oracle", (0.8, 0.9, 0.8)),
]


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """kdgym's own rows, verified, with one verifier."""
    folder = tmp_path / "boards"
    for name, kind, after in OWN:
        put(folder, signed(made(name, "kdgym", kind=kind, after=after), MAINTAINER, REPLAYED))
    verifier = load_record(folder / ID / "uniform--kdgym.json").badges[0].verifier
    (folder / "verifiers.json").write_text(json.dumps({verifier: "maintainers"}))
    return folder


def rows(folder: Path) -> dict[str, Row]:
    return {row.file: row for row in read_board(folder, ID)}


# --- the schema ------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    """Why a file is refused: one line that can be printed, and that names the file."""
    with pytest.raises(ValueError, match=re.escape(path.name)) as refused:
        load_record(path)
    said = str(refused.value)
    assert said.isprintable() and len(said) < 500
    return said


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        *(((*path, "after"), scores, "scores from") for path in [("outcome",)]
          for scores in ([1e308] * 3, [2.0] * 3, [0.1, -0.5, 0.1], [100, 0, 0])),
        (("outcome", "before", 1), 1.001, "before has scores"),
        (("outcome", "curve", 2, 0), -0.001, "curve has scores"),
        (("outcome", "curve", 1), [0.1, 0.2], "not equally long"),
        (("outcome", "curve"), [[0.1, 0.2]] * FEW, "one more than there are steps"),
        (("outcome", "curve"), [[]] * FEW, "outcome.curve"),
        (("outcome", "cost"), {}, "cost needs the actors student_training"),
        (("outcome", "cost", "judge"), {"items": [1.0] * FEW}, "cost needs"),
        (("outcome", "cost", "judge", "money"), [1.0], "cost of judge, money has 1 entries"),
        *((("outcome", "cost", "tools", "flops", 0), value, "outcome.cost") for value in (-1.0, 1e300, None, "1", True)),
        (("outcome", "right", 0), [1], "same skills"),
        (("outcome", "right", 0, 0), 5, "more answers are right"),
        (("outcome", "asked", 0, 0), 10**30, "outcome.asked"),
        (("outcome", "seeds"), [1_000_000] * FEW, "there twice"),
        (("outcome", "seeds", 0), True, "outcome.seeds"),
        (("trace",), None, "without a trace"),
        (("trace", "students"), 2, "the trace has"),
        (("trace", "steps"), 3, "the trace has 3 steps"),
        *((("disclosures", "attempts"), value, "disclosures.attempts") for value in (0, 10**30, 1.5, True)),
        *((("day",), day, "day") for day in ("9999-01-01", "2026-02-30", "2026-1-1", "\u0662026-11-30", "2026-11-30\n")),
        *((("agent", "name"), name, "agent.name") for name in ("\ufb01ne", "\u017ftat", "a\u200bb", " a", "a" * 61, "x/y")),
        (("agent", "authors"), ["A"] * 21, "agent.authors"),
        (("conditions", "seconds"), 1e300, "conditions.seconds"),
        (("conditions", "threads"), 10**30, "conditions.threads"),
        (("\x1b[2J",), 1, "?[2J"),
        (("env_id",), "kdgym/Nowhere-v0", "There is no environment"),
    ],
)  # fmt: skip
def test_what_pages_cannot_show_is_refused_in_a_sentence(
    where: tuple[Any, ...], value: Any, said: str, tmp_path: Path
) -> None:
    content = json.loads(made().model_dump_json())
    place = content
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    path = tmp_path / "mine--ada.json"
    path.write_text(json.dumps(content))
    assert said in refusal(path)


def objects(content: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(content, dict):
        yield place, content
        for key, value in content.items():
            yield from objects(value, f"{place}/{key}")


def test_a_key_that_is_there_twice_is_refused_wherever_it_is(tmp_path: Path) -> None:
    content = json.loads(made().model_dump_json())
    places = [(place, found) for place, found in objects(content) if found]
    assert len(places) > 8
    for place, found in places:
        whole, (key, value) = json.dumps(found), next(iter(found.items()))
        text = json.dumps(content).replace(whole, f"{whole[:-1]}, {json.dumps(key)}: {json.dumps(value)}}}", 1)
        path = tmp_path / "mine--ada.json"
        path.write_text(text)
        assert "twice" in refusal(path), place


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"1", b'"x"', b"NaN", b"{}", b"[" * 100_000, b'{"a":' * 100_000,
        b"9" * 5000, b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}", b'{"\xff": 1}', b'{"\\ud800": 1}',
    ],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_files_that_are_no_records_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine--ada.json"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("outcome", "after"), ["x"] * 5000),
        (("outcome", "seeds"), [-1] * 5000),
        (("outcome", "curve"), [["x"] * 100] * 100),
        (("outcome", "right"), [[-1] * 100] * 100),
        (("outcome", "cost", "judge", "money"), ["x"] * 5000),
        (("outcome", "cost"), {str(number): {} for number in range(5000)}),
        (("agent", "settings"), {str(number): 1 for number in range(5000)}),
        (("agent", "authors"), [1] * 5000),
        (("badges",), [{}] * 5000),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_of_thousands_of_wrong_values_the_first_few_are_told(
    where: tuple[str, ...], value: Any, tmp_path: Path
) -> None:
    """Gigabytes would be needed for what is wrong with a file of a few megabytes."""
    content = json.loads(made().model_dump_json())
    place = content
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    path = tmp_path / "mine--ada.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="mine--ada") as refused:
        load_record(path)
    cause = refused.value.__cause__
    assert not isinstance(cause, ValidationError) or cause.error_count() < 50


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"'])
@pytest.mark.parametrize("field", ['"after":[0.3', '"before":[0.1', '"curve":[[0.1', '"seconds":null', '"notes":""'])
def test_numbers_that_are_none_are_refused(literal: str, field: str, tmp_path: Path) -> None:
    path, text = tmp_path / "mine--ada.json", made().model_dump_json()
    assert field in text
    path.write_text(text.replace(field, re.sub(r"[^\[:]+$", lambda _: literal, field), 1))
    refusal(path)


def packed(content: bytes) -> bytes:
    return zlib.compress(content, 9)


def stuffed() -> bytes:
    """A stream with a thousand blocks of nothing."""
    writer = zlib.compressobj()
    return b"".join(writer.flush(zlib.Z_FULL_FLUSH) + writer.compress(b"\0") for _ in range(24)) + writer.flush()


NUMBERS = packed(bytes(24))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("box", base64.b64encode(NUMBERS + b"hidden")),
        ("box", base64.b64encode(packed(bytes(25)))),
        ("box", base64.b64encode(packed(bytes(23)))),
        ("box", base64.b64encode(NUMBERS[:-1])),
        ("box", base64.b64encode(NUMBERS) + b"\n"),
        ("box", base64.b64encode(NUMBERS + NUMBERS)),
        ("box", base64.b64encode(packed(bytes(10**8)))),
        ("box", base64.b64encode(stuffed())),
        ("box", base64.b64encode(NUMBERS).replace(b"=", b"")),
        ("box", b"\xc3\xbc"),
        ("text", base64.b64encode(packed(b'[["a", "b", "\\ud800"], ["", "", ""]]'))),
        ("text", base64.b64encode(packed(b'[["a", "b", 1], ["", "", ""]]'))),
        ("text", base64.b64encode(packed(b'{"a": 1}'))),
        ("text", base64.b64encode(packed(b"[" * 60))),
        ("text", base64.b64encode(packed(b"[" * 10**6))),
        ("text", base64.b64encode(packed(b"[" + b"[]," * 10**7))),
        ("text", base64.b64encode(packed('[["a", "b", "c"], ["", "", ""]]'.encode("utf-16")))),
        ("text", base64.b64encode(packed(b'[["a", "b", "\xff"], ["", "", ""]]'))),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_trace_holds_actions_and_nothing_else(kind: str, data: bytes, tmp_path: Path) -> None:
    content = json.loads(made().model_dump_json())
    content["trace"] |= {"kind": kind, "data": data.decode(), "width": 0 if kind == "text" else 4}
    path = tmp_path / "mine--ada.json"
    path.write_text(json.dumps(content))
    assert "race" in refusal(path)


def test_base64_has_one_spelling() -> None:
    """The last letter's unused bits could hold something."""
    data = base64.b64encode(packed(bytes(24))).decode().rstrip("=")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    padding = "=" * (-len(data) % 4)
    accepted = []
    for letter in letters:
        trace = Trace(kind="box", steps=2, students=FEW, width=4, data=data[:-1] + letter + padding)
        try:
            trace.actions()
        except ValueError:
            continue
        accepted.append(letter)
    assert accepted == [data[-1]]


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([-1, 0, 1, 2, 10**30, 2**63, 1e308, -0.0, 1e-320]),
    st.floats(), st.text(max_size=30), st.text(alphabet="<>&\"'`|[]()\\\n\x1b\u2028\u202e @.:/$_*-", max_size=12),
    st.lists(st.integers(-1, 2), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def leaves(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of all values of a record, those that hold others included."""
    if place:
        yield place
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield from leaves(value, (*place, key))


PLACES = list(leaves(json.loads(made().model_dump_json())))


@st.composite
def altered_records(draw: Callable[..., Any]) -> bytes:
    """A valid record's file with one value, or a few, in place of which there is something odd."""
    content = json.loads(made().model_dump_json())
    for where in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=2)):
        place = content
        try:
            for key in where[:-1]:
                place = place[key]
            place[where[-1]] = draw(ODD)
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    return json.dumps(content, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@pytest.mark.slow
@pytest.mark.fuzz
@given(altered_records())
def test_an_altered_record_is_refused_or_shown(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("boards")
    put(folder, made("uniform", "kdgym", kind="control"))
    path = folder / ID / "mine--ada.json"
    path.write_bytes(content)
    try:
        record = load_record(path)
        path = path.rename(path.with_name(record.file_name()))
        build(folder)
    except ValueError as error:  # no record, or one of other students
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert refused.isprintable()
        assert path.name in refused
        return
    plain(folder)
    build_site(folder)
    index = (folder / "site" / "index.html").read_text()
    (data,) = re.findall(r'<script type="application/json" id="scores">(.*?)</script>', index)
    scores = json.loads(data, parse_constant=pytest.fail)[ID]
    assert set(scores) == {path.stem for path in (folder / ID).glob("*.json")}
    assert index.count("<script") == index.count("</script") == 2


def plain(folder: Path) -> None:
    """The page has one board, as many rows as there are records, and no markup but its own."""
    text = (folder / "README.md").read_text()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    inline = [child for token in tokens for child in token.children or []]
    assert all(child.content == "<!-- -->" for child in inline if child.type == "html_inline")
    assert not [token for token in tokens if token.type == "html_block"]
    links = [child.attrs["href"] for child in inline if child.type == "link_open"]
    assert sorted(links) == sorted(f"{ID}/{path.name}" for path in (folder / ID).glob("*.json"))
    for child in inline:
        assert child.type != "text" or not re.search(r"(?i)www\.|\S@\S|://", child.content)


# --- what files are called -------------------------------------------------------------------------------------------

NAMES = [
    b"<!--<script>.json", b"x> [evil](http:evil).json", b"line\nend.json", b"\x1b[2J.json", b"\xff\xfe.json",
    b"elsewhere.json", "m\u0131ne--ada.json".encode(), b"mine--ada.json.json",
]  # fmt: skip


def test_files_with_other_names_are_shown_nowhere_and_all_are_reported(boards: Path) -> None:
    build(boards)
    before = (boards / "README.md").read_bytes()
    for name in NAMES:
        (boards / ID / os.fsdecode(name)).write_text(made().model_dump_json())
    (boards / ID / "broken.json").write_text("{")
    for write in (build, build_site):
        with pytest.raises(ValueError, match=f"^{len(NAMES) + 1} files are not records of their boards") as refused:
            write(boards)
        said = str(refused.value)
        assert said.isprintable()
        for shown in ("<!--<script>.json", "x> [evil]", "line?end.json", "?[2J.json", "elsewhere.json", "broken.json"):
            assert shown in said
    assert (boards / "README.md").read_bytes() == before
    assert not (boards / "site").exists()
    done = CliRunner().invoke(app, ["leaderboard", "check", "--boards", str(boards)])
    assert done.exit_code == 1
    assert "belongs into mine--ada.json" in done.output.replace("\n", " ")


# --- whose findings count --------------------------------------------------------------------------------------------


def forged(record: Record) -> Record:
    """With badges of the maintainers that they never gave."""
    genuine = signed(made("other"), MAINTAINER, REPLAYED, (2, Finding(True, "re-run", 0.1, 0.1, 32))).badges
    zeros = [badge.model_copy(update={"signature": "0" * 128, "level": 3}) for badge in genuine]
    return record.model_copy(update={"badges": [*genuine, *zeros]})


def turned(record: Record) -> Record:
    """With a genuine badge that said otherwise."""
    (badge,) = signed(record, MAINTAINER, (1, Finding(False, "no"))).badges
    return record.model_copy(update={"badges": [badge.model_copy(update={"passed": True})]})


@pytest.mark.parametrize(
    "badges",
    [
        lambda record: record,
        forged,
        lambda record: signed(record, STRANGER, REPLAYED, (2, Finding(True, "re-run", 0.1, 0.9, 32))),
        lambda record: signed(record, MAINTAINER, (0, Finding(True, "sound"))),
        lambda record: signed(record, MAINTAINER, REPLAYED).model_copy(update={"day": "2026-11-29"}),
        turned,
    ],
    ids=["none", "forged", "a stranger's", "level 0", "changed since", "turned around"],
)  # fmt: skip
def test_a_claim_has_no_rank_and_moves_nothing(badges: Callable[[Record], Record], boards: Path) -> None:
    before, board = rows(boards), read_boards(boards)[0]
    path = put(boards, badges(made("best of all", after=(1.0, 1.0, 1.0))))
    after = rows(boards)
    claim = after.pop(path.name)
    assert (claim.rank, claim.badge, claim.place) == (None, "claimed", "-")
    assert [badge.level for badge in claim.badges] in ([], [0])
    for file, row in before.items():
        now = after[file]
        assert (row.rank, row.gain, row.headroom, row.better) == (now.rank, now.gain, now.headroom, now.better)
    assert read_boards(boards)[0].detectable == board.detectable
    build(boards)
    assert "| claimed |" in (boards / "README.md").read_text()


@pytest.mark.parametrize("authors", [("AAA",), ("Kdgym",), ("kdgym", "AAA")])
@pytest.mark.parametrize(
    ("name", "kind", "after"), [("uniform", "control", (0.0,) * 3), ("informed", "oracle", (1.0,) * 3)]
)
@pytest.mark.parametrize("replays", [False, True])
def test_copies_of_controls_and_upper_bounds_measure_nobody(
    authors: tuple[str, ...], name: str, kind: str, after: tuple[float, ...], replays: bool, boards: Path
) -> None:
    before = rows(boards)
    copy = made(name, *authors, kind=kind, after=after)
    if copy.file_name() in before:
        copy = made(name, *authors, "B", kind=kind, after=after)
    put(boards, signed(copy, MAINTAINER, REPLAYED) if replays else copy)
    now = rows(boards)
    for file, row in before.items():
        assert (row.gain, row.headroom, row.rank) == (now[file].gain, now[file].headroom, now[file].rank)


@pytest.mark.parametrize("finding", [(1, Finding(False, "other scores")), (0, Finding(False, "no trace"))])
def test_a_board_whose_control_is_not_verified_is_not_built(finding: tuple[int, Finding], boards: Path) -> None:
    path = boards / ID / "uniform--kdgym.json"
    record = load_record(path)
    record.model_copy(update={"badges": []}).save(path)
    with pytest.raises(ValueError, match=r"control uniform of .* has not passed level 1.* fill --ids .* --level 1"):
        build(boards)
    signed(record, MAINTAINER, finding).save(path)
    with pytest.raises(ValueError, match="has not passed level 1"):
        build(boards)


def test_an_oracle_that_nobody_replayed_is_no_upper_bound(boards: Path) -> None:
    path = boards / ID / "informed--kdgym.json"
    load_record(path).model_copy(update={"badges": []}).save(path)
    assert all(row.headroom is None for row in rows(boards).values())


@pytest.mark.parametrize(
    ("findings", "rank", "badge"),
    [
        ([REPLAYED], 1, "replayed"),
        ([REPLAYED, (2, Finding(True, "as claimed", 0.2, 0.3, 32))], 1, "re-run"),
        ([REPLAYED, (2, Finding(False, "less", 0.7, 0.0, 32))], 1, "replayed, disputed"),
        ([REPLAYED, (2, Finding(False, "the re-run failed: it broke"))], None, "replayed, disputed"),
        ([(1, Finding(False, "other scores"))], None, "claimed, disputed"),
        ([(0, Finding(False, "no trace")), REPLAYED], None, "replayed, disputed"),
    ],
)  # fmt: skip
def test_what_verifiers_found_decides_the_rank(
    findings: list[tuple[int, Finding]], rank: int | None, badge: str, boards: Path
) -> None:
    path = put(boards, signed(made("new", after=(0.9, 1.0, 0.8)), MAINTAINER, *findings))
    row = rows(boards)[path.name]
    assert (row.rank is None) == (rank is None)
    assert row.badge == badge
    disputed = [finding.text for _, finding in findings if finding.passed is False]
    assert row.reason == (disputed[0] if disputed else "")


def test_a_row_stands_where_new_students_put_it(boards: Path) -> None:
    """The claim of the first is higher; in the re-run its students gained less than those of stat are known to."""
    claimed, found = (0.9, 0.85, 0.8), 0.02
    fall = signed(made("by heart", after=claimed), MAINTAINER, REPLAYED, (2, Finding(False, "less", 0.65, found, 32)))
    rise = signed(
        made("modest", after=(0.5, 0.6, 0.3)), MAINTAINER, REPLAYED, (2, Finding(True, "more", 0.27, 0.5, 32))
    )
    put(boards, fall)
    put(boards, rise)
    order = [row.record.agent.name for row in read_board(boards, ID)]
    assert order == ["informed", "modest", "stat", "by heart", "uniform"]
    row = rows(boards)["by-heart--ada.json"]
    assert row.standing == pytest.approx(np.mean(claimed) + found - 0.65)
    assert row.found == found
    assert row.gain is not None and row.gain.mean == pytest.approx(
        np.mean(claimed) - 0.2
    )  # what it claims is shown too
    build(boards)
    assert "| +0.02 |" in (boards / "README.md").read_text()
    assert rows(boards)["modest--ada.json"].shift == 0  # more than was claimed raises nothing


def test_what_was_replayed_only_lowers_nobodys_rank(boards: Path) -> None:
    ranks = {file: row.rank for file, row in rows(boards).items()}
    cheat = put(boards, signed(made("by heart", after=(1.0, 1.0, 0.9)), MAINTAINER, REPLAYED))
    now = {file: row.rank for file, row in rows(boards).items()}
    assert now.pop(cheat.name) == 1
    assert now == ranks
    proven = signed(
        made("by heart", after=(1.0, 1.0, 0.9)), MAINTAINER, REPLAYED, (2, Finding(True, "so", 0.7, 0.7, 32))
    )
    put(boards, proven)
    now = {file: row.rank for file, row in rows(boards).items()}
    assert (now[cheat.name], now["stat--kdgym.json"]) == (1, 2)


def test_a_failed_badge_that_was_removed_still_counts(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, MAINTAINER)
    failed = signed(made("new", after=(0.9, 1.0, 0.8)), MAINTAINER, REPLAYED, (2, Finding(False, "less", 0.7, 0.1, 32)))
    path = put(boards, failed)
    for badge in failed.badges:
        append(boards, path, failed, badge)
    before = rows(boards)[path.name]
    failed.model_copy(update={"badges": failed.badges[:1]}).save(path)
    after = rows(boards)[path.name]
    assert (after.badge, after.reason, after.rank, after.standing) == (
        "replayed, disputed",
        "less",
        before.rank,
        before.standing,
    )


def test_boards_without_verifiers_are_claims_and_say_so(boards: Path) -> None:
    (boards / "verifiers.json").unlink()
    put(boards, forged(made("new", after=(0.9, 1.0, 0.8))))
    now = rows(boards)
    assert {row.badge for row in now.values()} == {"claimed"}
    assert now["new--ada.json"].rank == 1
    build(boards)
    build_site(boards)
    assert "These boards have no verifiers" in (boards / "README.md").read_text()
    assert "These boards have no verifiers" in (boards / "site" / "index.html").read_text()


def test_all_pages_say_the_same(boards: Path) -> None:
    put(boards, made("claim", after=(0.9, 0.9, 0.9)))
    put(
        boards,
        signed(made("new", after=(0.7, 0.6, 0.8)), MAINTAINER, REPLAYED, (2, Finding(False, "less", 0.5, 0.1, 32))),
    )
    put(boards, made("by hand", "Eve", kind="human", after=(0.9, 0.9)))
    build(boards)
    build_site(boards)
    table = (boards / "README.md").read_text()
    index = (boards / "site" / "index.html").read_text()
    for file, row in rows(boards).items():
        line = next(line for line in table.splitlines() if f"/{file}>" in line)
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        part = index[index.index(f'href="{ID}/{row.stem}.html"') :].partition("</tr>")[0]
        page = (boards / "site" / ID / f"{row.stem}.html").read_text()
        assert cells[-1] == row.badge
        assert row.badge in part
        assert f"<dt>rank</dt><dd>{row.place}</dd>" in page
        assert row.kind == "human" or cells[0] == row.place
        for badge in row.badges:
            assert badge.finding in page
        assert ("Not verified" in page) == (not row.badges)


# --- persons ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("students", [2, FEW])
@pytest.mark.parametrize("replays", [False, True])
def test_persons_have_a_table_and_no_rank(students: int, replays: bool, boards: Path) -> None:
    """With an oracle's lessons for two easy students, say, which replay."""
    before = [(row.file, row.rank, row.gain, row.headroom, row.better) for row in read_board(boards, ID)]
    person = made("by hand", "Eve", kind="human", after=(1.0, 0.9, 1.0)[:students])
    put(boards, signed(person, MAINTAINER, REPLAYED) if replays else person)
    board = read_boards(boards)[0]
    assert [(row.file, row.rank, row.gain, row.headroom, row.better) for row in board.rows] == before
    (row,) = board.persons
    assert (row.rank, row.headroom) == (None, None)
    control = np.array(OWN[0][2])[:students]
    assert row.gain is not None and row.gain.mean == pytest.approx((row.scores - control).mean())
    build(boards)
    build_site(boards)
    table = (boards / "README.md").read_text().partition("Human teachers")[2]
    assert f"[by hand](<{ID}/{row.file}>) by Eve | {students} |" in table
    assert 'class="persons"' in (boards / "site" / "index.html").read_text()


@pytest.mark.parametrize("kind", ["rule", "rl", "learned", "llm", "control", "published", "oracle"])
def test_all_others_teach_all_students(kind: str, boards: Path) -> None:
    put(boards, made("few", kind=kind, after=(1.0, 1.0)))
    with pytest.raises(ValueError, match="of other students"):
        build(boards)


# --- names -----------------------------------------------------------------------------------------------------------

LOOKALIKES = {
    "uniform": "uniform,Uniform,un\u0131form,UNIFORM,un1form,\u00fcn\u00efform,unifo-rm,uni form,unlform,u.n.i.f.o.r.m".split(
        ","
    ),
    "no teaching": ["no teaching", "No Teaching", "no-teaching", "noteaching", "n0 teach1ng", "n\u00f3 teaching"],
    "lookahead": ["1ookahead", "Iookahead", "l00kahead", "\u0142ookahead", "\u01c0ookahead"],
    "maskable_ppo": ["maskable ppo", "rnaskable_ppo", "Maskable+PPO"],
    "always_auto": ["alvvays_auto", "always auto", "\u00e5lways_auto"],
}


@pytest.mark.parametrize(("own", "name"), [(own, name) for own, names in LOOKALIKES.items() for name in names])
def test_names_that_look_like_kdgyms_are_kdgyms(own: str, name: str) -> None:
    card = made(name).agent
    assert reserved(card) == own
    with pytest.raises(ValueError, match=f"'{own}' is kdgym's own; choose another name"):
        require_free(card)


@pytest.mark.parametrize("author", ["kdgym", "Kdgym", "KDGYM", "kd-gym", "kdgym's maintainers", "kdgÿm", "ķdgym"])
def test_nobody_else_is_the_author_kdgym(author: str) -> None:
    assert reserved(made("mine", "Ada", author).agent) == "kdgym"


@pytest.mark.parametrize(
    "name", ["mine", "uniformly", "my uniform", "Ada's rule", "informed by nobody", "GPT", "x@example.com"]
)
def test_other_names_are_free(name: str) -> None:
    require_free(made(name, "Ada Kdg", "Bo").agent)


@given(st.from_regex(r"^[A-Za-z0-9À-ɏ][A-Za-z0-9À-ɏ ._+@'()-]*$", fullmatch=True))
@pytest.mark.fuzz
def test_folding_twice_changes_nothing_and_case_never_matters(name: str) -> None:
    folded = fold(name)
    assert re.fullmatch("[a-z0-9]*", folded)
    assert fold(folded) == folded
    assert fold(f" {name}-") == folded
    assert fold(name.upper()) == fold(name.upper().lower())


def test_submitting_under_kdgyms_name_is_refused_before_anything_is_taught() -> None:
    for name, authors in (("uniform", ["Ada"]), ("stat", ["kdgym"]), ("mine", ["kdgym"]), ("Stat", ["Ada"])):
        with pytest.raises(ValueError, match="is kdgym's own"):
            make_record(ID, "uniform", name, authors)


@pytest.mark.parametrize(
    "words", [["--name", "<b>"], ["--name", "\ufb01ne"], ["--authors", " "], ["--attempts", "2000000"]]
)
def test_what_a_record_cannot_hold_is_refused_in_a_line_before_anything_is_taught(
    words: list[str], tmp_path: Path
) -> None:
    given = {"--name": "mine", "--authors": "Ada", "--boards": str(tmp_path)} | {words[0]: words[1]}
    command = ["submit", "uniform", "--env", ID, *(word for pair in given.items() for word in pair)]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, ValueError)
    assert str(refused.exception).isprintable()
    assert not list(tmp_path.iterdir())


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@pytest.mark.fuzz
def test_words_of_strangers_are_text_in_markdown(text: str) -> None:
    line = f"| {markdown(text)} | x |"
    (inline,) = [
        t
        for t in MarkdownIt("commonmark").enable("table").parse(f"| a | b |\n|---|---|\n{line}\n")
        if t.type == "inline"
    ][2:3]
    children = inline.children or []
    assert {child.type for child in children} <= {"text", "text_special", "html_inline"}
    assert all(child.content == "<!-- -->" for child in children if child.type == "html_inline")
    shown = "".join(child.content for child in children if child.type != "html_inline")
    assert shown == " ".join(text.split())


@pytest.mark.parametrize(
    "text", ["www.example.com", "WWW.example.com", "x@example.com", "http://a.b", "mailto:x@y.de", "a www.b.c d@e.f"]
)
def test_addresses_stay_words(text: str) -> None:
    pieces = re.split(r"<!-- -->", markdown(text).replace("\\", ""))
    assert len(pieces) > 1
    assert not any(re.search(r"(?i)www\.|\w[@:]", piece) for piece in pieces)


# --- copies ----------------------------------------------------------------------------------------------------------


def coded(record: Record, source: str, **more: Any) -> Record:
    card = {"source": source, "sha256": hashlib.sha256(source.encode()).hexdigest(), **more}
    return record.model_copy(update={"agent": record.agent.model_copy(update=card)})


def test_anothers_actions_under_ones_own_name_are_reported() -> None:
    first, copy = made("first"), made("second", "Eve")
    other = made(
        "third", "Eve", after=(0.1, 0.2, 0.3)
    )  # the same actions elsewhere score otherwise: it does not replay
    assert copies({"a.json": first, "b.json": copy, "c.json": other}) == [
        "b.json has the actions and scores of a.json, which is by other authors."
    ]
    assert copies({"a.json": first, "b.json": made("again")}) == []  # by the same authors


def test_anothers_code_is_reported_unless_a_model_or_weights_decide() -> None:
    own, theirs = made("stat", "kdgym", after=(0.1,) * 3), made("theirs", "Eve")
    said = copies({"a.json": coded(theirs, "x = 1"), "z.json": coded(own, "x = 1")})
    assert said == ["a.json has the code of z.json, which is by other authors."]
    for more in ({"model": "m"}, {"weights": "0" * 64}, {"settings": {"actions": "box"}}):
        assert copies({"a.json": coded(theirs, "x = 1", **more), "z.json": coded(own, "x = 1")}) == []
    assert copies({"a.json": theirs, "z.json": own}) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("day", "0001-01-01"),
        ("level", 4),
        ("finding", "x" * 2001),
        ("students", 0),
        ("found", float("inf")),
        ("claimed", "1"),
    ],
)
def test_badges_have_bounds(field: str, value: Any) -> None:
    badge: dict[str, Any] = signed(made(), MAINTAINER, REPLAYED).badges[0].model_dump()
    with pytest.raises(ValueError, match=field):
        Badge(**{**badge, field: value})
