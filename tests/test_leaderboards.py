"""The boards of this repository: every record is sound, and the page is theirs."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.board import standing
from kdgym.leaderboard.record import file_name, load_record
from kdgym.leaderboard.verify import replay
from kdgym.registration import find

BOARDS = Path(__file__).parent.parent / "leaderboards"


def test_the_committed_boards_are_sound_and_their_page_is_up_to_date() -> None:
    done = CliRunner().invoke(app, ["leaderboard", "check", "--boards", str(BOARDS)])
    assert done.exit_code == 0, done.output


def test_every_committed_board_has_everybody_who_stands_on_it() -> None:
    boards = sorted(path for path in BOARDS.glob("kdgym/*") if path.is_dir())
    assert boards
    for board in boards:
        files = {path.name for path in board.glob("*--kdgym.json")}
        assert {file_name(name, ["kdgym"]) for name, _ in standing(f"kdgym/{board.name}")} <= files


def test_a_sample_of_the_committed_records_replays() -> None:
    """Others every day. Bit for bit on the kind of machine they are from, within a tolerance on others."""
    paths = sorted(BOARDS.glob("kdgym/*/*.json"))
    rng = np.random.default_rng(date.today().toordinal())
    for index in rng.choice(len(paths), 2, replace=False):
        record = load_record(paths[index])
        finding = replay(record, students=2 if find(record.env_id).slow else 8)
        assert finding.passed, f"{paths[index].name}: {finding.text}"
