"""Words of strangers on a terminal: no escapes, no markup; and a terminal that knows few characters shows what it can."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kdgym.console import PlainConsole, progress_bar

ID = "kdgym/DataGen-Math-v0"
ESCAPES = ["\x1b[2J", "\x1b]8;;http://evil\x1b\\", "\x9b31m", "\r\x08", "\x07", "\u202e"]
EVIL = [*ESCAPES, "[link=http://evil]here[/link]", "[red]x[/]", ":smile:"]


def shown(*parts: object) -> str:
    file = io.StringIO()
    PlainConsole(file=file, force_terminal=True, color_system="truecolor", width=60).print(*parts)
    return file.getvalue()


def in_a_table(words: str) -> Table:
    table = Table(words, title=words)
    table.add_row(words)
    return table


PLACES = {
    "text": lambda words: words,
    "styled": lambda words: Text(words, style="bold"),
    "assembled": lambda words: Text.assemble(("Error:", "bold"), " ", words),
    "table": in_a_table,
    "panel": Panel,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_words_are_words(evil: str, place: str) -> None:
    said = re.sub(r"\x1b\[[0-9;]*m", "", shown(PLACES[place](evil)))  # without rich's own colours
    assert all(line.isprintable() for line in said.split("\n"))
    if evil.isprintable():
        assert evil in said


@pytest.mark.fuzz
@given(st.text(max_size=40))
def test_nothing_that_is_printed_moves_the_cursor(words: str) -> None:
    file = io.StringIO()
    PlainConsole(file=file, color_system=None, width=60).print(words, in_a_table(words))
    assert all(line.isprintable() for line in file.getvalue().split("\n"))


def test_progress_of_a_strangers_agent_is_printed_as_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdgym.console._EVERY", 0.01)
    pause = threading.Event()
    with progress_bar() as bar:
        bar.add_task("\x1b[2J[red]mine[/]", total=3)
        for _ in range(200):
            if "mine" in (said := capsys.readouterr().err):
                break
            pause.wait(0.02)
    assert "?[2J[red]mine[/]" in said


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", ID],
        ["--help"],
        ["compare", "--help"],
        ["watch", ID, "--agent", "uniform"],
        ["compare", ID, "--agents", "uniform", "--episodes", "2", "--set", "steps=1"],
        ["watch", ID, "--agent", "ünïcode→"],
    ],
    ids=" ".join,
)
def test_a_terminal_that_knows_few_characters_is_enough(command: list[str], encoding: str) -> None:
    told = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "COLUMNS": "100"}
    done = subprocess.run([sys.executable, "-m", "kdgym.cli", *command], capture_output=True, check=False, env=told)
    assert done.returncode == (2 if command[-1] == "ünïcode→" else 0), done.stderr
    assert b"Traceback" not in done.stderr and done.stdout + done.stderr
    (done.stdout + done.stderr).decode(encoding)
