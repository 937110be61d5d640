"""Submissions: what is written down replays bit for bit, and whatever was tampered with is found."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

import kdgym.registration
from kdgym.cli import app
from kdgym.leaderboard.badges import KEY, award
from kdgym.leaderboard.record import LARGEST, Record, load_record
from kdgym.leaderboard.submit import make_record
from kdgym.leaderboard.trace import Replay, Rounded, Trace, write_trace
from kdgym.leaderboard.verify import EARLIER_KERNELS, check, replay
from kdgym.students.tiny.kernel import fingerprint
from tests.tiers import tiered

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
BOARDS = {  # a teacher each: shares, text, lanes, starts
    "kdgym/DataGen-Math-v0": "adaptive_source",
    "kdgym/DataGen-Math-OpenEnded-v0": "llm2llm",
    "kdgym/Orchestrate-Incidents-v0": "atlas",
    "kdgym/Snapshot-PointMaze-v0": "s3rl",
}
FEW = 3  # students of a board here, see conftest


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record(ID, "adaptive_source", "mine", ["Ada"])


# --- traces ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(arrays(np.float32, (4, FEW, 5), elements=st.floats(-1, 1, width=32)))
def test_what_is_rounded_is_written_down_exactly(actions: np.ndarray) -> None:
    class Teacher:
        def act(self, observation: int) -> np.ndarray:
            return np.asarray(actions[observation])

    done = [Rounded(Teacher()).act(step) for step in range(4)]
    assert np.abs(np.array(done) - actions).max() <= 0.5 / 127 + 1e-6
    trace = write_trace(done, spaces.Box(-1, 1, (5,)), FEW)
    assert all(np.array_equal(a, b) for a, b in zip(trace.actions(), done, strict=True))


def test_choices_and_texts_are_written_down_exactly() -> None:
    chosen = [np.array([[3, 0], [1, 2]]), np.array([[0, 1], [2, 2]])]
    trace = write_trace(chosen, spaces.MultiDiscrete([4, 3]), 2)
    assert all(np.array_equal(a, b) for a, b in zip(trace.actions(), chosen, strict=True))
    said = [np.array(['[{"draw": 3}]', "ünï"]), np.array(["", "[]"])]
    assert write_trace(said, spaces.Text(100), 2).actions() == [list(row) for row in said]


def test_a_replay_that_ends_early_says_so() -> None:
    with pytest.raises(ValueError, match="ends before the episode"):
        Replay([]).act(None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "no base64!"}, "cannot be unpacked"),
        ({"data": "AAAA"}, "cannot be unpacked"),
        ({"width": 7}, "longer than 252 bytes"),
        ({"width": 300}, "are said"),
        ({"kind": "text"}, "no list of 12 lists of 3 texts"),
    ],
)
def test_traces_that_are_no_traces(record: Record, change: dict[str, Any], said: str) -> None:
    assert record.trace is not None
    with pytest.raises(ValueError, match=said):
        record.trace.model_copy(update=change).actions()


def test_a_trace_that_unpacks_without_end_is_stopped() -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(bytes(80 * 1024**2), 9)).decode()
    with pytest.raises(ValueError, match="longer than"):
        Trace(kind="box", steps=10, students=1, width=1, data=bomb).actions()


# --- replay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", tiered(BOARDS, list(BOARDS)[:3]))
def test_a_record_replays_bit_for_bit(env_id: str, tmp_path: Path) -> None:
    """Also in part: what a student learns does not depend on who is beside it."""
    record = make_record(env_id, BOARDS[env_id], BOARDS[env_id], ["kdgym"], kind="rule")
    record.save(tmp_path / "record.json")
    assert load_record(tmp_path / "record.json") == record
    assert check(record).passed
    for students in (2, FEW):
        found = replay(record, students)
        assert found.passed, found.text


def test_nobody_teaching_is_a_record_too() -> None:
    record = make_record(ID, "no teaching", "no teaching", ["kdgym"], kind="control")
    assert record.trace is None
    assert check(record).passed
    assert replay(record, FEW).passed


def changed(record: Record, change: Callable[[dict[str, Any]], None]) -> Record:
    content = json.loads(record.model_dump_json())
    change(content)
    return Record.model_validate_json(json.dumps(content))


@pytest.mark.parametrize(
    "forge",
    [
        lambda r: r["outcome"]["after"].__setitem__(1, r["outcome"]["after"][1] + 1e-9),
        lambda r: r["outcome"]["before"].__setitem__(0, 0.0),
        lambda r: r["outcome"]["curve"][2].__setitem__(5, 0.9),
        lambda r: r["outcome"]["right"][0].__setitem__(0, 0),
        lambda r: r["outcome"]["cost"]["data_engine"]["money"].__setitem__(0, 1.0),
    ],
    ids=["score", "score before", "curve", "counts", "cost"],
)
def test_forged_results_do_not_replay(record: Record, forge: Callable[[dict[str, Any]], None]) -> None:
    forged = changed(record, forge)
    assert check(forged).passed  # nothing in the file itself gives it away
    assert not replay(forged, FEW).passed


def test_equal_bits_are_asked_for_on_the_records_kind_of_machine_only(record: Record) -> None:
    """A curve that is a little different; see test_drift for what may differ elsewhere."""

    def claims(processor: str) -> Record:
        def change(r: dict[str, Any]) -> None:
            r["conditions"]["processor"] = processor
            r["outcome"]["curve"][0][1] += 0.003

        return changed(record, change)

    assert not replay(claims(record.conditions.processor), FEW).passed
    assert not replay(claims("an abacus"), FEW, exact=True).passed
    found = replay(claims("an abacus"), 1)
    assert found.passed, found.text
    assert (
        f"{FEW} students replayed on another kind of machine ({record.conditions.processor}, not an abacus)"
        in found.text
    )


def test_another_version_of_kdgym_is_the_same_kind_of_machine(record: Record) -> None:
    earlier = changed(record, lambda r: r["conditions"].update(kdgym="0.0.1"))
    assert check(earlier).passed
    assert replay(earlier, FEW).text == "3 students replayed bit for bit"
    after = [score + 0.05 for score in earlier.outcome.after]
    assert not replay(changed(earlier, lambda r: r["outcome"].update(after=after)), FEW).passed


def test_a_kernel_named_by_its_source_is_the_one_with_the_same_outputs(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of that time are from this kind of machine where that kernel's outputs are this one's: no tolerance there."""

    def change(r: dict[str, Any]) -> None:
        r["conditions"]["processor"] = r["conditions"]["processor"].replace(fingerprint(), "0123abcd")
        r["outcome"]["curve"][0][1] += 0.003

    claims = changed(record, change)
    assert claims.conditions.processor != record.conditions.processor
    assert replay(claims, FEW).passed
    monkeypatch.setitem(EARLIER_KERNELS, "0123abcd", fingerprint())
    assert not replay(claims, FEW).passed


@pytest.mark.parametrize(
    ("name", "kind"), [("uniform", "control"), ("stat", "published"), ("informed", "oracle"), ("random", "rule")]
)
def test_a_packaged_agent_is_recognised_by_what_it_does(name: str, kind: Any) -> None:
    """Not by its text: a reworded docstring changes nothing."""

    def reword(r: dict[str, Any]) -> None:
        source = r["agent"]["source"] + "# A comment.\n"
        r["agent"].update(source=source, sha256=hashlib.sha256(source.encode()).hexdigest())

    record = changed(make_record(ID, name, name, ["kdgym"], kind=kind), reword)
    assert check(record).passed
    assert replay(record, 1).text == f"{FEW} students replayed bit for bit"


@pytest.mark.parametrize(("kind", "authors"), [("control", ["kdgym"]), ("rule", ["kdgym"]), ("rule", ["Ada"])])
def test_another_agent_under_a_packaged_name_is_found(record: Record, kind: Any, authors: list[str]) -> None:
    """Its lessons replay, and are not those of the agent whose name it has; of whatever kind and by whomever."""
    posing = changed(record, lambda r: r["agent"].update(name="uniform", kind=kind, authors=authors))
    assert check(posing).passed
    found = replay(posing, 1)
    assert not found.passed
    assert found.text.startswith("the actions of kdgym's uniform differ by ")
    elsewhere = replay(changed(posing, lambda r: r["conditions"].update(processor="an abacus")), 1)
    assert elsewhere.passed is False
    assert "the actions of kdgym's uniform differ" in elsewhere.text


@pytest.mark.parametrize("author", ["kdgym", "KDGym", "kdgým"])
def test_kdgym_is_the_author_of_its_own_teachers_only(record: Record, author: str) -> None:
    posing = changed(record, lambda r: r["agent"].update(authors=["Ada", author]))
    assert "mine is no installed teacher" in check(posing).text


def test_another_agents_trace_does_not_replay(record: Record) -> None:
    other = make_record(ID, "uniform", "other", ["Eve"])
    stolen = record.model_copy(update={"trace": other.trace})
    assert not replay(stolen, FEW).passed


def test_actions_that_the_environment_refuses_do_not_replay(record: Record) -> None:
    assert record.trace is not None
    width = record.trace.width
    wild = write_trace([np.full((FEW, width), -128 / 127)] * record.trace.steps, spaces.Box(-1, 1, (width,)), FEW)
    found = replay(record.model_copy(update={"trace": wild}), FEW)
    assert not found.passed
    assert "refused" in found.text


# --- what stands in the file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["outcome"].update(seeds=[1, 2, 3]), "not the board's"),
        (
            lambda r: (r["trace"].update(steps=13), r["outcome"].update(curve=[[0.5] * 14] * FEW)),
            "the trace has 13 steps",
        ),
        (lambda r: r["trace"].update(width=3), "3 wide"),
        (lambda r: r["agent"].update(kind="oracle"), "kind 'oracle' is here for informed, lookahead, not for mine"),
        (lambda r: (r.update(trace=None), r["outcome"].update(curve=[[0.5]] * FEW)), "no trace"),
    ],
)
def test_unsound_records_are_found(record: Record, change: Callable[[dict[str, Any]], None], said: str) -> None:
    found = check(changed(record, change))
    assert not found.passed
    assert said in found.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["agent"].update(name="<script>alert(1)</script>"), "agent.name"),
        (lambda r: r["agent"].update(name="\x1b[2J"), "agent.name"),
        (lambda r: r["agent"].update(name="a\u202eb"), "agent.name"),
        (lambda r: r["agent"].update(name="../../../etc/passwd"), "agent.name"),
        (lambda r: r["agent"].update(authors=[]), "agent.authors"),
        (lambda r: r["agent"].update(source="import os"), "agent"),
        (lambda r: r["agent"].update(settings={"budget": "1e9"}), "agent.settings"),
        (lambda r: r["outcome"]["after"].pop(), "outcome"),
        (lambda r: r["outcome"]["curve"][2].pop(), "outcome"),
        (lambda r: r["trace"].update(steps=13), "the trace has 13 steps"),
        (lambda r: r.update(trace=None), "without a trace"),
        (lambda r: r["outcome"]["right"].__setitem__(0, [10**6] * 14), "outcome"),
        (lambda r: r["outcome"]["cost"].update(nobody={}), "outcome"),
        (lambda r: r.update(env_id="kdgym/../x-v0"), "env_id"),
        (lambda r: r.update(surprise=1), "surprise"),
        (lambda r: r.update(day="2026-13-01"), "day"),
    ],
)
def test_files_that_do_not_fit_the_schema_are_refused(
    record: Record, change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    content = json.loads(record.model_dump_json())
    change(content)
    (tmp_path / "forged.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said):
        load_record(tmp_path / "forged.json")


def test_nan_is_no_score(record: Record, tmp_path: Path) -> None:
    text = record.model_dump_json().replace(f'"after":[{record.outcome.after[0]}', '"after":[NaN', 1)
    assert "NaN" in text
    (tmp_path / "nan.json").write_text(text)
    with pytest.raises(ValueError, match=r"nan\.json"):
        load_record(tmp_path / "nan.json")


def test_links_and_giants_are_refused(record: Record, tmp_path: Path) -> None:
    record.save(tmp_path / "record.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "record.json")
    (tmp_path / "giant.json").write_bytes(b" " * (LARGEST + 1))
    for name, said in (("link", "is a link"), ("giant", "are allowed"), ("nothing", "nothing.*: file not found")):
        with pytest.raises(ValueError, match=said):
            load_record(tmp_path / f"{name}.json")


def test_file_names_come_from_checked_names(record: Record) -> None:
    assert record.file_name() == "mine--ada.json"


# --- badges ----------------------------------------------------------------------------------------------------------


def test_badges_are_genuine_for_the_very_record(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "ab" * 32)
    signed = award(record, 0, check(record))
    signed = award(signed, 1, replay(record, 1))
    assert [badge.level for badge in signed.badges] == [0, 1]
    assert check(signed).passed
    assert len(award(signed, 0, check(record)).badges) == 2  # the newer takes the older one's place
    better = changed(signed, lambda r: r["outcome"]["after"].__setitem__(0, 1.0))
    assert "badge 1 is not genuine; badge 2 is not genuine" in check(better).text
    promoted = changed(signed, lambda r: r["badges"][0].update(level=2))
    assert check(promoted).text == "badge 1 is not genuine"


@pytest.mark.parametrize("key", [None, "", "ab", "zz" * 32])
def test_without_a_key_nothing_is_signed(record: Record, key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(KEY, key)
    with pytest.raises(ValueError, match=KEY):
        award(record, 0, check(record))


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_newcomers_row_is_on_the_page(tmp_path: Path) -> None:
    """The README's way: copy the shortest agent, submit, build, look."""
    mine = tmp_path / "mine.py"
    mine.write_text((Path(kdgym.registration.__file__).parents[1] / "agents" / "any_family" / "random.py").read_text())
    make_record(ID, "uniform", "uniform", ["kdgym"], kind="control").save(tmp_path / ID / "uniform--kdgym.json")
    command = [
        "submit",
        str(mine),
        "--env",
        ID,
        "--name",
        "my random",
        "--authors",
        "Ada,Grace",
        "--boards",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"kdgym leaderboard build --ids {ID} --boards {tmp_path}" in done.output
    path = tmp_path / ID / "my-random--ada-grace.json"
    assert CliRunner().invoke(app, ["verify", str(path), "--students", "2"]).exit_code == 0
    assert CliRunner().invoke(app, ["leaderboard", "build", "--boards", str(tmp_path)]).exit_code == 0
    assert CliRunner().invoke(app, ["leaderboard", "site", "--boards", str(tmp_path)]).exit_code == 0
    for page in (tmp_path / "README.md", tmp_path / "site" / "index.html"):
        assert "my random</a>" in page.read_text() or "[my random]" in page.read_text()
    assert (tmp_path / "site" / ID / "my-random--ada-grace.html").is_file()
    content = json.loads(path.read_text())
    content["outcome"]["after"] = [1.0] * FEW
    path.write_text(json.dumps(content))
    done = CliRunner().invoke(app, ["verify", str(path), "--students", "1"])
    assert done.exit_code == 1
    assert "FAILED" in done.output


BARE = """
import sys
from dataclasses import replace

import kdgym.registration
from kdgym.cli.errors import EXTRAS


class Missing:
    def find_spec(self, name, path=None, target=None):
        if any(name.partition(".")[0] in packages for packages in EXTRAS.values()):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
kdgym.registration.ENVIRONMENTS = tuple(replace(e, episodes=3) for e in kdgym.registration.ENVIRONMENTS)
from kdgym.cli import app

for command in sys.argv[1:]:
    app(command.split(), standalone_mode=False)
"""


def test_submission_needs_no_extra(tmp_path: Path) -> None:
    """Submit, verify by replay, and build the page, where none of the extras' packages can be imported."""
    mine = tmp_path / "mine.py"
    mine.write_text((Path(kdgym.registration.__file__).parents[1] / "agents" / "any_family" / "random.py").read_text())
    make_record(ID, "uniform", "uniform", ["kdgym"], kind="control").save(tmp_path / ID / "uniform--kdgym.json")
    commands = [
        f"submit {mine} --env {ID} --name mine --authors Ada --boards {tmp_path}",
        f"verify {tmp_path / ID / 'mine--ada.json'} --students 1",
        f"leaderboard build --ids {ID} --boards {tmp_path}",
        f"leaderboard site --ids {ID} --boards {tmp_path}",
    ]
    done = subprocess.run([sys.executable, "-c", BARE, *commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[mine]" in (tmp_path / "README.md").read_text()
