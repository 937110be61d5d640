"""The path of docs/own-data.md: a file of 300 rows becomes a task, its card is the one shown, three teachers are compared."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from tests.test_readme import DOCS, code_block, commands

PAGE = (DOCS / "own-data.md").read_text()


def plain(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    exec(code_block("writelines", PAGE), {})
    return tmp_path


def call(line: str, *more: str) -> str:
    done = CliRunner().invoke(app, [*shlex.split(line)[1:], *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_card_is_the_one_shown(folder: Path) -> None:
    shown = code_block("rows are kept", PAGE, "text")
    printed = call(next(commands(PAGE)))
    assert plain(printed.partition("Results:")[0]) == plain(shown)
    card = json.loads((folder / "card.json").read_text())
    assert len(card["skills"]) == 5 and card["rows"] == 300
    names: dict[str, Any] = {}
    exec(code_block("make_vec", PAGE), names)
    assert names["card"] == {**card, "source": "items.jsonl"}


def test_what_tiny_students_are_refused_is_the_sentence_shown() -> None:
    shown = code_block("tiny students take at most", PAGE, "text")
    assert re.fullmatch(r"all has a problem of \d+ tokens; tiny students take at most 32. Choose a .*\n", shown)


@pytest.mark.slow
def test_three_teachers_are_compared(folder: Path) -> None:
    line = next(line for line in commands(PAGE) if "compare" in line)
    call(line, "--json", "found.json")
    found = {row["agent"]: row for row in json.loads((folder / "found.json").read_text())["agents"]}
    assert len(found) == 3
    assert found["adaptive_source"]["minus_control"]["low"] > 0
