"""Badges and their log: what is signed counts, and whatever was altered, removed or made up is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.badges import (
    KEY,
    LOG,
    VERIFIERS,
    Finding,
    append,
    award,
    differences,
    found_gain,
    is_genuine,
    known_verifiers,
    read_log,
    trusted_badges,
    unlogged,
)
from kdgym.leaderboard.record import Record, load_record

COMMITTED = Path(__file__).parents[2] / "leaderboards"
BOARD = COMMITTED / "kdgym" / "DataGen-Math-v0"
MINE, OTHERS = "ab" * 32, "cd" * 32
FINDINGS = [
    Finding(True, "the file is sound"),
    Finding(True, "8 students replayed bit for bit"),
    Finding(False, "gain over uniform of 32 new students is +0.078; ...", 0.281, 0.078, 32),
]


def public(key: str) -> str:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key)).public_key().public_bytes_raw().hex()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, MINE)


@pytest.fixture(scope="module")
def record() -> Record:
    return load_record(BOARD / "stat--kdgym.json").model_copy(update={"badges": []})


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """A folder whose one known verifier is ``MINE``."""
    (tmp_path / VERIFIERS).write_text(json.dumps({public(MINE): "me"}))
    return tmp_path


@pytest.fixture
def signed(boards: Path, record: Record) -> Record:
    """A record with a badge of every level, all of them logged, the last of them failed; saved."""
    path = boards / record.env_id / record.file_name()
    for level, finding in enumerate(FINDINGS):
        record = award(record, level, finding)
        append(boards, path, record, record.badges[-1])
    record.save(path)
    return record


def without(record: Record, *levels: int) -> Record:
    return record.model_copy(update={"badges": [badge for badge in record.badges if badge.level not in levels]})


def trusted(boards: Path, record: Record) -> list[tuple[int, bool]]:
    return [(b.level, b.passed) for b in trusted_badges(record, read_log(boards), known_verifiers(boards))]


# --- badges ----------------------------------------------------------------------------------------------------------


def test_badges_from_before_the_numbers_are_genuine() -> None:
    known, numbers = known_verifiers(COMMITTED), []
    for path in sorted(BOARD.glob("*.json")):
        record = load_record(path)
        counted = trusted_badges(record, [], known)
        assert len(counted) == len(record.badges) > 0
        numbers += [found_gain(badge) for badge in counted if badge.level == 2]
    assert numbers and all(pair is not None and -1 < pair[0] < 1 and -1 < pair[1] < 1 for pair in numbers)


def test_numbers_are_in_the_badge_and_signed(signed: Record) -> None:
    last = signed.badges[-1]
    assert (last.claimed, last.found, last.students) == (0.281, 0.078, 32)
    assert found_gain(last) == (0.281, 0.078)
    assert found_gain(signed.badges[0]) is None
    assert "claimed" not in signed.badges[0].model_dump()
    assert Record.model_validate_json(signed.model_dump_json()) == signed


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ("gain over uniform of 32 new students is +0.412; the claim of +0.329 predicts +0.1 to +0.6", (0.329, 0.412)),
        ("score of 8 new students is -0.010; the claim of +0.000 predicts -0.1 to +0.1", (0.0, -0.01)),
        ("the re-run failed: the agent broke down", None),
        ("it is said that gain over uniform of 32 new students is +0.412; the claim of +0.329 predicts", None),
    ],
)
def test_earlier_badges_have_their_numbers_in_words(signed: Record, said: str, numbers: Any) -> None:
    badge = award(signed, 2, Finding(True, said)).badges[-1]
    assert found_gain(badge) == numbers
    assert found_gain(award(signed, 1, Finding(True, said)).badges[-1]) is None


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "level": st.integers(0, 3),
            "passed": st.booleans(),
            "finding": st.text(max_size=20),
            "version": st.text(max_size=5),
            "day": st.dates().map(str),
            "verifier": st.sampled_from([public(OTHERS), "01" + "00" * 31, "00" * 32]),
            "claimed": st.floats(-1, 1) | st.none(),
            "found": st.floats(-1, 1) | st.none(),
            "students": st.integers(1, 99) | st.none(),
            "signature": st.sampled_from(["00" * 64, "01" + "00" * 63]),
        },
    )
)
def test_a_badge_with_another_content_is_not_genuine(record: Record, change: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, MINE)
        genuine = award(record, 2, FINDINGS[2]).badges[-1]
    forged = genuine.model_copy(update=change)
    assert (
        is_genuine(record, forged) == (forged == genuine) or "verifier" in change
    )  # a key of small order signs anything
    counted = trusted_badges(record.model_copy(update={"badges": [forged]}), [], {public(MINE)})
    assert counted == ([genuine] if forged == genuine else [])


def test_badges_by_others_and_of_other_records_do_not_count(
    boards: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_record(BOARD / "uniform--kdgym.json")
    assert trusted(boards, record.model_copy(update={"badges": other.badges})) == []
    assert trusted(boards, record.model_copy(update={"badges": award(other, 1, FINDINGS[1]).badges})) == []
    monkeypatch.setenv(KEY, OTHERS)
    assert trusted(boards, award(record, 2, Finding(True, "trust me"))) == []


def test_nothing_is_signed_while_it_is_undecided(record: Record) -> None:
    with pytest.raises(ValueError, match="level 2 is undecided: 90 new students are needed"):
        award(record, 2, Finding(None, "90 new students are needed"))


SMALL = [  # all encodings of the eight points, with both signs
    y.to_bytes(32, "little").hex()
    for root in (
        0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    )
    for y in (root, root + 2**255)
]  # fmt: skip


@pytest.mark.parametrize("key", SMALL)
def test_keys_that_anybody_can_sign_for_are_refused(boards: Path, key: str) -> None:
    (boards / VERIFIERS).write_text(json.dumps({public(MINE): "me", key: "everybody"}))
    with pytest.raises(ValueError, match="small order"):
        known_verifiers(boards)


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"ab": "short"}', json.dumps({"g" * 64: "no hex"}), '{"' + "a" * 64 + '": 1}']
)
def test_a_table_of_verifiers_that_is_none_is_refused(boards: Path, content: str) -> None:
    (boards / VERIFIERS).write_text(content)
    with pytest.raises(ValueError, match="not a table of public keys"):
        known_verifiers(boards)


# --- the log ---------------------------------------------------------------------------------------------------------


def test_what_is_logged_is_read(boards: Path, signed: Record) -> None:
    assert [entry.badge for entry in read_log(boards)] == signed.badges
    assert differences(signed.file_name(), signed, read_log(boards), known_verifiers(boards)) == []
    assert trusted(boards, signed) == [(0, True), (1, True), (2, False)]


def edited(**change: Any) -> Callable[[list[bytes]], list[bytes]]:
    def edit(lines: list[bytes]) -> list[bytes]:
        entry = json.loads(lines[1])
        for place, value in change.items():
            (entry["badge"] if place in entry["badge"] and place != "signature" else entry)[place] = value
        return [lines[0], json.dumps(entry, sort_keys=True, separators=(",", ":")).encode(), lines[2]]

    return edit


@pytest.mark.parametrize(
    "tamper",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [*lines, lines[2]],
        lambda lines: [lines[0], *lines],
        lambda lines: [*lines, b""],
        lambda lines: [*lines, b"{}"],
        lambda lines: [*lines, b"[" * 100_000],
        lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]],
        edited(passed=False),
        edited(finding="it cheats"),
        edited(level=2),
        edited(env_id="kdgym/DataGen-Code-v0"),
        edited(file="other--ada.json"),
        edited(claim="0" * 64),
        edited(previous="0" * 64),
        edited(writer=public(OTHERS)),
        edited(signature="0" * 128),
        edited(surprise=1),
    ],
)
def test_a_log_that_was_tampered_with_is_refused(
    boards: Path, signed: Record, tamper: Callable[[list[bytes]], list[bytes]]
) -> None:
    lines = (boards / LOG).read_bytes().splitlines()
    (boards / LOG).write_bytes(b"".join(line + b"\n" for line in tamper(lines)))
    with pytest.raises(ValueError, match=rf"{LOG}, line \d"):
        read_log(boards)
    with pytest.raises(ValueError, match=rf"{LOG}, line \d"):  # and nothing is added to it
        append(boards, boards / signed.file_name(), signed, signed.badges[0])


def test_only_verifiers_write_into_the_log(boards: Path, signed: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (boards / LOG).read_bytes()
    monkeypatch.setenv(KEY, OTHERS)
    with pytest.raises(ValueError, match=r"is not in .*verifiers.json"):
        append(boards, boards / signed.file_name(), signed, award(signed, 2, FINDINGS[0]).badges[-1])
    assert (boards / LOG).read_bytes() == content


def test_lines_of_several_processes_follow_each_other(boards: Path, signed: Record) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: append(boards, boards / signed.file_name(), signed, signed.badges[0]), range(16)))
    assert len(read_log(boards)) == 3 + 16


def test_a_failed_badge_counts_also_where_it_was_deleted(boards: Path, signed: Record) -> None:
    bought = without(signed, 2)
    assert trusted(boards, bought) == [(0, True), (1, True), (2, False)]
    (said,) = differences(signed.file_name(), bought, read_log(boards), known_verifiers(boards))
    assert said.startswith("the badge of level 2 by")
    assert said.endswith("was removed from the file; the log says FAILED")


def test_an_earlier_badge_that_passed_does_not_come_back(boards: Path, signed: Record) -> None:
    """A genuine badge of the same day that a failed one has replaced."""
    earlier = award(without(signed, 2), 2, Finding(True, "it passed")).badges[-1]
    restored = without(signed, 2).model_copy(update={"badges": [*without(signed, 2).badges, earlier]})
    assert is_genuine(restored, earlier)
    assert trusted(boards, restored)[-1] == (2, False)


def test_a_newer_finding_takes_the_place_of_an_older_one(boards: Path, signed: Record) -> None:
    better = award(signed, 2, Finding(True, "it passed", 0.3, 0.3, 64))
    append(boards, boards / better.file_name(), better, better.badges[-1])
    assert trusted(boards, better)[-1] == (2, True)
    assert differences(better.file_name(), better, read_log(boards), known_verifiers(boards)) == []


def test_a_record_that_was_changed_after_its_findings_is_named(boards: Path, signed: Record) -> None:
    better = signed.model_copy(update={"day": "2026-01-01", "badges": []})
    assert trusted(boards, better) == []
    assert differences(signed.file_name(), better, read_log(boards), known_verifiers(boards)) == [
        "the record was changed since it was last verified"
    ]


def test_badges_from_before_the_log_are_entered_once(boards: Path) -> None:
    known = json.loads((COMMITTED / VERIFIERS).read_text()) | {public(MINE): "me"}
    (boards / VERIFIERS).write_text(json.dumps(known))
    earlier = load_record(BOARD / "stat--kdgym.json")
    forged = earlier.badges[0].model_copy(update={"passed": False})
    earlier.model_copy(update={"badges": [*earlier.badges, forged]}).save(boards / earlier.env_id / earlier.file_name())
    assert len(unlogged(earlier.file_name(), earlier, [], known)) == len(earlier.badges)
    for entered in (len(earlier.badges), 0):
        done = CliRunner().invoke(app, ["leaderboard", "log", "--boards", str(boards)])
        assert done.exit_code == 0, done.output
        assert f"{entered} findings entered" in done.output
    assert [entry.badge for entry in read_log(boards)] == earlier.badges
    assert {entry.writer for entry in read_log(boards)} == {public(MINE)}


# --- the command -----------------------------------------------------------------------------------------------------


def test_check_looks_at_every_file_and_names_all_that_is_wrong(boards: Path, signed: Record) -> None:
    folder = boards / signed.env_id
    without(signed, 2).save(folder / signed.file_name())
    (folder / "a\x1b[2J.json").write_text("{")
    (folder / "z--nested.json").write_text("[" * 100_000)
    (folder / "b--forged.json").write_text(
        without(signed, 0, 1).model_copy(update={"day": "2026-01-01"}).model_dump_json()
    )
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["leaderboard", "check", "--boards", str(boards)])
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    for said in (
        "a?[2J.json",
        "z--nested.json",
        "belongs into stat--kdgym.json",
        "badge 1 is not genuine",
        "was removed from the file; the log says FAILED",
        "b--forged.json",
    ):
        assert said in done.output, done.output


def test_check_names_a_broken_log(boards: Path, signed: Record) -> None:
    lines = (boards / LOG).read_bytes().splitlines(keepends=True)
    (boards / LOG).write_bytes(b"".join(lines[1:]))
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["leaderboard", "check", "--boards", str(boards)])
    assert done.exit_code == 1
    assert "line 1 does not follow the line before" in done.output


def test_signing_writes_file_and_log(boards: Path, record: Record) -> None:
    path = boards / record.env_id / record.file_name()
    record.save(path)
    CliRunner().invoke(app, ["verify", str(path), "--level", "0", "--sign"])
    (badge,) = load_record(path).badges
    assert [entry.badge for entry in read_log(boards)] == [badge]
    lonely = boards.parent / "lonely.json"
    record.save(lonely)
    CliRunner().invoke(app, ["verify", str(lonely), "--level", "0", "--sign"])
    assert len(load_record(lonely).badges) == 1
    assert len(read_log(boards)) == 1
