"""Boards: filled without redoing anything, ranked by what can be told apart, and checked as a whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.board import build, read_board, standing
from kdgym.leaderboard.record import Record, load_record

ID = "kdgym/DataGen-Math-OpenEnded-v0"


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["leaderboard", *words])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    done = run("fill", "--ids", ID, "--boards", str(folder))
    assert done.exit_code == 0, done.output
    done = run("build", "--boards", str(folder))
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def boards(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "boards"))


def test_every_board_has_its_controls_its_published_rule_and_its_oracles() -> None:
    kinds = dict(standing("kdgym/DataGen-Math-v0"))
    assert next(iter(kinds)) == "no teaching"
    assert kinds["uniform"] == kinds["random"] == "control"
    assert (kinds["stat"], kinds["weakest_skill"], kinds["lookahead"]) == ("published", "rule", "oracle")


@pytest.mark.slow
def test_filled_boards_are_sound(boards: Path) -> None:
    assert {path.name for path in (boards / ID).glob("*.json")} == {
        f"{name.replace('_', '-').replace(' ', '-')}--kdgym.json" for name, _ in standing(ID)
    }
    done = run("check", "--boards", str(boards))
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_what_is_there_is_not_made_again(boards: Path) -> None:
    gone = boards / ID / "random-real--kdgym.json"
    before = {path.name: path.stat().st_mtime_ns for path in (boards / ID).glob("*.json")}
    old = gone.read_bytes()
    gone.unlink()
    assert run("fill", "--ids", ID, "--boards", str(boards)).exit_code == 0
    after = {path.name: path.stat().st_mtime_ns for path in (boards / ID).glob("*.json")}
    assert {name for name in before if before[name] != after[name]} == {gone.name}
    assert load_record(gone).outcome == Record.model_validate_json(old).outcome


@pytest.mark.slow
def test_a_forged_file_and_a_stale_page_are_found(boards: Path) -> None:
    page = boards / "README.md"
    page.write_text(page.read_text().replace("0.", "1.", 1))
    assert "The page is not that of the records" in run("check", "--boards", str(boards)).output
    build(boards)
    path = next((boards / ID).glob("arte--*.json"))
    path.rename(path.with_name("elsewhere.json"))
    build(boards)
    done = run("check", "--boards", str(boards))
    assert done.exit_code == 1
    assert "elsewhere.json" in done.output


@pytest.mark.slow
def test_a_board_needs_its_control(boards: Path) -> None:
    for path in (boards / ID).glob("random-real--*"):
        path.unlink()
    with pytest.raises(ValueError, match="no record of its control random_real"):
        read_board(boards, ID)


@pytest.mark.slow
def test_ranks_are_groups_that_cannot_be_told_apart(boards: Path) -> None:
    """Three students more or less at will: equal scores share a rank, clearly lower ones do not."""
    scores = {"arte": [0.9, 0.8, 0.7], "llm2llm": [0.9, 0.8, 0.71], "random-real": [0.5, 0.4, 0.3]}
    for path in (boards / ID).glob("*.json"):
        name = path.name.partition("--")[0]
        if name in scores:
            record = load_record(path)
            outcome = record.outcome.model_copy(update={"after": scores[name]})
            record.model_copy(update={"outcome": outcome}).save(path)
        else:
            path.unlink()
    rows = {row.record.agent.name: row for row in read_board(boards, ID)}
    assert (rows["llm2llm"].rank, rows["arte"].rank, rows["random_real"].rank) == (1, 1, 3)
    assert rows["random_real"].gain is None
    gain = rows["arte"].gain
    assert gain is not None
    assert gain.mean == pytest.approx(0.4)
    assert np.isclose(rows["llm2llm"].better or 0, (1 + 0.5 + 0.5) / 3)
    assert all(row.headroom is None for row in rows.values())  # no oracle is left
