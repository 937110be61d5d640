"""The boards of this repository: every record is sound, and the page is theirs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.board import standing
from kdgym.leaderboard.record import file_name, load_record
from kdgym.leaderboard.rerun import moved
from kdgym.leaderboard.verify import replay
from kdgym.registration import ENVIRONMENTS
from tests.tiers import tiered

BOARDS = Path(__file__).parents[2] / "leaderboards"


@pytest.mark.thorough
def test_the_committed_boards_are_sound_and_their_page_is_up_to_date() -> None:
    done = CliRunner().invoke(app, ["leaderboard", "check", "--boards", str(BOARDS)])
    assert done.exit_code == 0, done.output


def test_every_committed_board_has_everybody_who_stands_on_it() -> None:
    boards = sorted(path for path in BOARDS.glob("kdgym/*") if path.is_dir())
    assert boards
    for board in boards:
        files = {path.name for path in board.glob("*--kdgym.json")}
        assert {file_name(name, ["kdgym"]) for name, _ in standing(f"kdgym/{board.name}")} <= files


# A board a family, and the rule that it is measured against. Students of Feedback practise as those of Tutoring.
PUBLISHED = [
    ("DataGen-Math", "stat"),
    ("DataGen-Code-OpenEnded", "llm2llm"),
    ("DataGen-VQA-SkillTree", "alternating"),
    ("Orchestrate-Incidents", "atlas"),
    ("Classroom-Math", "bid_proportional"),
    ("Tutoring-Math", "always_ask"),
    ("Snapshot-CartPole", "s3rl"),
]


@pytest.mark.slow
@pytest.mark.parametrize("published", tiered(PUBLISHED, PUBLISHED[:1]))
def test_published_rules_still_do_what_their_records_say(published: tuple[str, str]) -> None:
    """Bit for bit on the kind of machine they are from, within a tolerance on others."""
    board, agent = published
    record = load_record(BOARDS / "kdgym" / f"{board}-v0" / file_name(agent, ["kdgym"]))
    assert record.agent.kind == "published"
    finding = replay(record)
    assert finding.passed, finding.text


@pytest.mark.slow
def test_a_committed_record_of_a_rule_replays() -> None:
    finding = replay(load_record(BOARDS / "kdgym" / "DataGen-VQA-v0" / file_name("adaptive_source", ["kdgym"])))
    assert finding.passed, finding.text


@pytest.mark.slow
def test_the_code_of_every_committed_record_can_be_run_again() -> None:
    records = [load_record(path) for path in sorted(BOARDS.glob("kdgym/*/*.json"))]
    sources = {record.agent.source: record.agent.name for record in records if record.agent.source is not None}
    assert len(sources) > 50
    for source, name in sources.items():
        module = ModuleType(f"recorded_{name}")
        exec(compile(moved(source), name, "exec"), vars(module))
        assert callable(module.Agent.act), name


def test_the_page_says_why_a_board_is_closed_and_whether_the_next_has_records() -> None:
    page = (BOARDS / "README.md").read_text()
    closed = [entry for entry in ENVIRONMENTS if entry.closed]
    assert closed
    for entry in closed:
        section = page.split(f"\n## {entry.id} (closed)\n")[1].split("\n## ")[0]
        assert entry.notice in section
        assert ("It has no board yet." in section) != any((BOARDS / entry.newer).glob("*.json"))
