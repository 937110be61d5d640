"""Submissions by pull request: one honest record is accepted, a forged one and any other change are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import kdgym.leaderboard.rerun
import kdgym.registration
from kdgym.cli import app
from kdgym.leaderboard.record import Record
from kdgym.leaderboard.sandbox import bubblewrap
from kdgym.leaderboard.submit import make_record

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
MINE = f"leaderboards/{ID}/mine--ada.json"


@pytest.fixture(scope="module", autouse=True)
def boards_of_32(small_boards: None) -> Iterator[None]:
    """So many that their mean has to be close also on another kind of machine; the same new ones in every run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kdgym.leaderboard.rerun, "secret_generator", lambda *_: np.random.default_rng(0))
        entries = tuple(replace(entry, episodes=32) for entry in kdgym.registration.ENVIRONMENTS)
        patch.setattr(kdgym.registration, "ENVIRONMENTS", entries)
        yield


@pytest.fixture(scope="module")
def record() -> Record:
    return make_record(ID, "adaptive_source", "mine", ["Ada"])


def git(*words: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with somebody else's record, and a branch for a submission, in the working directory."""
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet", "--initial-branch=main")
    (tmp_path / "leaderboards" / ID).mkdir(parents=True)
    (tmp_path / "leaderboards" / ID / "uniform--kdgym.json").write_text("{}\n")
    (tmp_path / "leaderboards" / "README.md").write_text("# Leaderboards\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "boards")
    git("switch", "--quiet", "--create", "submission")
    return tmp_path


def review(head: str = "submission") -> Any:
    git("add", "--all")
    git("commit", "--quiet", "--message", "submission")
    git("switch", "--quiet", "main")  # what is verified need not be checked out
    return CliRunner().invoke(app, ["leaderboard", "review", "main", head])


def without_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda _: None)


def test_one_honest_record_is_accepted(clone: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    without_sandbox(monkeypatch)
    record.save(clone / MINE)
    done = review()
    assert done.exit_code == 0, done.output
    assert "level 0: passed" in done.output
    assert "level 1: passed: 32 students replayed bit for bit" in done.output
    assert "level 2: Agents of strangers are run under bubblewrap" in done.output
    assert "Level 2 is left out" in done.output


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_where_there_is_a_sandbox_the_teacher_itself_is_run(clone: Path, record: Record) -> None:
    record.save(clone / MINE)
    done = review()
    assert done.exit_code == 0, done.output
    assert "level 2: passed: gain over uniform of 32 new students" in done.output


@pytest.mark.parametrize(("gained", "processor"), [(0.001, None), (0.02, "an abacus"), (0.05, "\x1b[2J")])
def test_a_forged_record_is_refused(
    clone: Path, record: Record, monkeypatch: pytest.MonkeyPatch, gained: float, processor: str | None
) -> None:
    """Another processor's name excuses rounding, not a gain."""
    without_sandbox(monkeypatch)
    record.save(clone / MINE)
    forged = json.loads((clone / MINE).read_text())
    forged["outcome"]["after"] = [min(score + gained, 1.0) for score in forged["outcome"]["after"]]
    forged["conditions"]["processor"] = processor or forged["conditions"]["processor"]
    (clone / MINE).write_text(json.dumps(forged))
    done = review()
    assert done.exit_code == 1
    assert "level 1: FAILED" in done.output


def others(clone: Path) -> Path:
    return clone / "leaderboards" / ID / "uniform--kdgym.json"


def executable(clone: Path) -> None:
    os.chmod(clone / MINE, 0o755)


def link(clone: Path) -> None:
    (clone / MINE).unlink()
    (clone / MINE).symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda clone: others(clone).write_text("[]"), "this one changes or removes leaderboards/.*uniform"),
        (lambda clone: others(clone).unlink(), "this one changes or removes leaderboards/.*uniform"),
        (lambda clone: others(clone).rename(others(clone).with_name("z.json")), "changes or removes"),
        (lambda clone: (clone / "leaderboards" / "README.md").write_text("mine first"), "removes .*README.md"),
        (lambda clone: (clone / "leaderboards" / ID / "agent.py").write_text("1"), "agent.py is none"),
        (lambda clone: shutil.copy(clone / MINE, clone / "another.json"), "this one adds 2 files: another.json, lead"),
        (lambda clone: (clone / MINE).unlink() or (clone / "x.json").write_text("{}"), "x.json: .*Field required"),
        (lambda clone: (clone / MINE).rename(clone / "mine--ada.json"), f"belongs into {MINE}"),
        (executable, "is none .*mode 644"),
        (link, "is none .*mode 644"),
    ],
)
def test_any_other_change_is_refused(clone: Path, record: Record, change: Callable[[Path], Any], said: str) -> None:
    record.save(clone / MINE)
    change(clone)
    with pytest.raises(ValueError, match=said):
        raise review().exception


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "oracle", "name": "lookahead"}, "kind oracle"),
        ({"name": "other"}, "belongs into .*other--ada.json"),
        ({"name": "constant", "authors": ["kdgym"]}, "name of kdgym's own"),
        ({"name": "Unifórm"}, "uniform is a name of kdgym's own"),
        ({"authors": ["Ada", "KDGym"]}, "kdgym is a name of kdgym's own"),
    ],
)
def test_a_record_may_not_pose_as_another(clone: Path, record: Record, change: dict[str, Any], said: str) -> None:
    posing = record.model_copy(update={"agent": record.agent.model_copy(update=change)})
    posing.save(clone / (MINE if change == {"name": "other"} else f"leaderboards/{ID}/{posing.file_name()}"))
    with pytest.raises(ValueError, match=said):
        raise review().exception


def test_badges_are_given_by_those_who_verify(clone: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    from kdgym.leaderboard.badges import KEY, Finding, award

    monkeypatch.setenv(KEY, "ab" * 32)
    award(record, 2, Finding(True, "trust me")).save(clone / MINE)
    with pytest.raises(ValueError, match="has badges already"):
        raise review().exception


def test_a_branch_that_is_not_there_is_named(clone: Path, record: Record) -> None:
    record.save(clone / MINE)
    with pytest.raises(ValueError, match=r"git diff failed: .*nowhere"):
        raise review("nowhere").exception
