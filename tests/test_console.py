"""Progress: a bar where there is a terminal, else a plain line now and then."""

from __future__ import annotations

import contextlib
import re
import time

import pytest
from typer.testing import CliRunner

import kdgym.console
from kdgym.cli import app
from kdgym.console import counter, progress_bar


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdgym.console, "_EVERY", 0.05)


def test_without_a_terminal_lines_tell_how_far_it_is_and_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as bar:
        advance = counter(bar, "lessons")
        for _ in range(6):
            advance(1, 20)
            time.sleep(0.05)
    told = capsys.readouterr()
    assert told.out == ""
    assert re.search(r"^lessons: \d of 20, 0:00:\d\d so far, about 0:00:\d\d left$", told.err, flags=re.MULTILINE)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""  # nothing afterwards


def test_a_bar_within_another_stands_beside_it_while_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as outer:
        outer.add_task("all records", total=2)
        with contextlib.suppress(KeyError), progress_bar() as inner:
            assert inner is outer
            inner.add_task("this one", total=None)
            time.sleep(0.2)
            raise KeyError
        assert [task.description for task in outer.tasks] == ["all records"]
    assert re.search(
        r"^all records: 0 of 2, \S+ so far; this one: 0, \S+ so far$", capsys.readouterr().err, re.MULTILINE
    )
    with progress_bar() as later:
        assert later is not outer


def test_before_there_is_anything_to_count_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar():
        time.sleep(0.2)
    assert capsys.readouterr().err.startswith("starting, 0:00:0")


@pytest.mark.parametrize("command", ["compare", "headroom"])
def test_commands_tell_it_beside_their_results(command: str) -> None:
    agents = ["--agents", "random_real"] if command == "compare" else []
    words = [command, "kdgym/DataGen-Math-OpenEnded-v0", "--episodes", "8", *agents]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "so far" in done.stderr and "so far" not in done.stdout
