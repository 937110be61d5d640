"""Boards: filled without redoing anything, ranked by what can be told apart, and checked as a whole."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.badges import KEY, Finding, award
from kdgym.leaderboard.board import build, read_board, standing
from kdgym.leaderboard.record import Record, load_record
from kdgym.leaderboard.site import written_items
from kdgym.leaderboard.submit import open_board
from kdgym.leaderboard.trace import write_trace

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
def test_filling_also_verifies_and_signs_what_nobody_has(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "ab" * 32)
    command = ("fill", "--ids", ID, "--level", "0", "--boards", str(boards))
    assert run(*command).exit_code == 0
    before = {path: path.read_bytes() for path in (boards / ID).glob("*.json")}
    assert all([badge.level for badge in load_record(path).badges] == [0] for path in before)
    assert run(*command).exit_code == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_a_forged_file_and_a_stale_page_are_found(boards: Path) -> None:
    page = boards / "README.md"
    page.write_text(page.read_text().replace("0.", "1.", 1))
    assert "The page README.md is not that of the records" in run("check", "--boards", str(boards)).output
    build(boards)
    built = page.read_bytes()
    path = next((boards / ID).glob("arte--*.json"))
    path.rename(path.with_name("elsewhere.json"))
    with pytest.raises(
        ValueError, match=r"elsewhere\.json has the name of another record; it belongs into arte--kdgym\.json"
    ):
        build(boards)
    assert page.read_bytes() == built
    done = run("check", "--boards", str(boards))
    assert done.exit_code == 1
    assert "elsewhere.json" in done.output


@pytest.mark.slow
def test_a_board_needs_its_control(boards: Path) -> None:
    for path in (boards / ID).glob("random-real--*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"no record of its control random_real.* run this in a clone of it"):
        read_board(boards, ID)


@pytest.mark.slow
def test_building_one_board_leaves_the_others_as_they_are(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment is made either: the card is there already."""
    page, other = boards / "README.md", "kdgym/DataGen-Math-v0"
    whole = page.read_text()
    kept = f"## {other}\n\nA table that is not made anew.\n"
    page.write_text(whole.replace(f"\n## {ID}", f"\n{kept}\n## {ID}").replace("arte", "stale"))
    (boards / other).mkdir()
    (boards / other / "uniform--kdgym.json").write_text("no record")
    monkeypatch.setattr("kdgym.leaderboard.card.open_board", None)
    done = run("build", "--ids", ID, "--boards", str(boards))
    assert done.exit_code == 0, done.output
    built = page.read_text()
    assert kept in built and "stale" not in built
    assert built.replace(f"{kept}\n", "") == whole


def test_where_there_are_no_boards_it_is_said_what_to_do(tmp_path: Path) -> None:
    for command in (["build"], ["site"], ["check"], ["build", "--ids", ID]):
        refused = run(*command, "--boards", str(tmp_path / "none"))
        said = str(refused.exception) + refused.output  # check goes on, and tells all at the end
        assert "kdgym's repository: run this in a clone of it" in said, command
        assert str(tmp_path / "none") in said


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


@pytest.mark.slow
def test_costs_and_curves_are_shown(boards: Path) -> None:
    """Names of language models stand on the record's page only."""
    path = boards / ID / "arte--kdgym.json"
    record = load_record(path)
    asked = record.agent.model_copy(update={"model": "gpt-4o-mini"})
    cost = {**record.outcome.cost, "teacher": {**record.outcome.cost["teacher"], "tokens": [1e6, 2e6, 3e6]}}
    outcome = record.outcome.model_copy(update={"cost": cost, "curve": [np.linspace(0, 1, 13).tolist()] * 3})
    paid = record.model_copy(update={"agent": asked, "outcome": outcome})
    paid.save(path)
    row = next(row for row in read_board(boards, ID) if row.record.agent.name == "arte")
    assert row.area == pytest.approx(0.5)
    build(boards)
    assert "| 0.500 |" in (boards / "README.md").read_text()
    assert "| 2000000 |" in (boards / "README.md").read_text()
    assert "gpt-4o-mini" not in (boards / "README.md").read_text()


@pytest.mark.slow
def test_items_copied_from_the_test_split_are_counted_and_taught_to_nobody(boards: Path) -> None:
    """A teacher who knows the examination writes it down; the environment refuses it, and the page will say how often."""
    envs: Any = open_board(ID, 3, {})
    task = envs.task
    pools = {split: task.pool(split) for split in ("train", "test")}
    problems = {split: [task.write_problem(int(pool.start[0]) + i) for i in range(4)] for split, pool in pools.items()}
    lesson = [{"problem": p, "answer": "1"} for p in (*problems["test"], problems["train"][0])]
    space, steps = envs.single_action_space, envs.steps
    trace = write_trace([[json.dumps(lesson)] * 3] + [["[]"] * 3] * (steps - 1), space, 3)
    record = load_record(boards / ID / "random-real--kdgym.json").model_copy(update={"trace": trace})
    assert written_items(record) == (15, 12)
    envs.reset(seed=0)
    *_, info = envs.step([json.dumps(lesson)] * 3)
    assert info["items/rejected/held_out"].tolist() == [4, 4, 4]
    assert info["items/accepted"].tolist() == [1, 1, 1]


@pytest.mark.slow
def test_badges_of_strangers_are_refused(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can sign; who counts stands in a file of the repository."""
    monkeypatch.setenv(KEY, "ab" * 32)
    path = boards / ID / "arte--kdgym.json"
    signed = award(load_record(path), 0, Finding(True, "trust me"))
    signed.save(path)
    assert run("build", "--boards", str(boards)).exit_code == 0
    refused = run("check", "--boards", str(boards))
    assert refused.exit_code == 1
    assert "arte--kdgym.json: badge 1 is by a verifier who is not in verifiers.json" in refused.output.replace(
        "\n", " "
    )
    (boards / "verifiers.json").write_text(json.dumps({signed.badges[0].verifier: "this test"}))
    unverified = run("check", "--boards", str(boards))
    assert "control random_real of" in unverified.output and "has not passed level 1" in unverified.output
    control = boards / ID / "random-real--kdgym.json"
    award(load_record(control), 1, Finding(True, "replayed")).save(control)
    assert run("build", "--boards", str(boards)).exit_code == 0


@pytest.mark.slow
def test_a_board_is_what_its_card_says(boards: Path) -> None:
    cards = json.loads((boards / "cards.json").read_text())
    assert (cards[ID]["students"], cards[ID]["steps"], cards[ID]["control"]) == (3, 12, "random_real")
    assert cards[ID]["settings"]["budget"] > 0
    assert cards[ID]["actions"]["space"] == "kdgym.spaces:JsonText"
    cards[ID]["settings"]["budget"] += 1
    (boards / "cards.json").write_text(json.dumps(cards))
    said = run("check", "--boards", str(boards)).output
    assert f"{ID} is not what its card says (settings); a change that moves scores needs a new id" in said.replace(
        "\n", " "
    )
    assert run("build", "--boards", str(boards)).exit_code == 0  # which freezes new cards only
    assert json.loads((boards / "cards.json").read_text()) == cards


FILL = """
import sys
from dataclasses import replace
import kdgym.registration
kdgym.registration.ENVIRONMENTS = tuple(replace(e, episodes=3) for e in kdgym.registration.ENVIRONMENTS)
from kdgym.cli import app
app(["leaderboard", "fill", "--ids", sys.argv[1], "--boards", sys.argv[2]])
"""


@pytest.mark.thorough
def test_a_killed_fill_goes_on_where_it_was(filled: Path, tmp_path: Path) -> None:
    """SIGKILL after the first record: what is there is whole, is kept, and the rest is made, the same as without the kill."""
    command = [sys.executable, "-c", FILL, ID, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (done := list((tmp_path / ID).glob("*.json"))) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / ID).glob("*.json")}
    assert done
    assert len(before) < len(standing(ID))
    for path in before:
        load_record(path)
    assert run("fill", "--ids", ID, "--boards", str(tmp_path)).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    for path in (filled / ID).glob("*.json"):
        assert load_record(tmp_path / ID / path.name).outcome == load_record(path).outcome
