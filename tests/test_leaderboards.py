"""The boards of this repository: every record is sound, and the page is theirs."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.board import standing

BOARDS = Path(__file__).parent.parent / "leaderboards"


def test_the_committed_boards_are_sound_and_their_page_is_up_to_date() -> None:
    done = CliRunner().invoke(app, ["leaderboard", "check", "--boards", str(BOARDS)])
    assert done.exit_code == 0, done.output


def test_every_committed_board_has_everybody_who_stands_on_it() -> None:
    boards = sorted(path for path in BOARDS.glob("kdgym/*") if path.is_dir())
    assert boards
    for board in boards:
        names = {name for name, _ in standing(f"kdgym/{board.name}")}
        files = {path.name for path in board.glob("*--kdgym.json")}
        assert {f"{name.replace('_', '-').replace(' ', '-')}--kdgym.json" for name in names} <= files
