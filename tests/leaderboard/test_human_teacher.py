"""A person as the teacher: what is typed is done, mistakes are asked again, and the record is like any other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.leaderboard.board import read_board
from kdgym.leaderboard.human_teacher import HumanTeacher
from kdgym.leaderboard.record import load_record
from kdgym.leaderboard.submit import make_record
from kdgym.leaderboard.verify import check, replay

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"


def person(env_id: str = ID, **settings: Any) -> HumanTeacher:
    envs = gym.make_vec(env_id, num_envs=1, autoreset=False, **settings).unwrapped
    return HumanTeacher(envs, Console(file=io.StringIO()))


def test_weights_of_skills_and_of_sources_become_shares() -> None:
    me = person()
    space = me.space
    shares = np.exp(4 * me.read("sub=3 mul:2=1").astype(float)).reshape(14, 4)
    shares /= shares.sum()
    sub, mul = me.skills.index("sub"), me.skills.index("mul")
    np.testing.assert_allclose(shares[sub], 3 / 16, atol=0.01)
    assert shares[mul, 1] == pytest.approx(1 / 4, abs=0.01)
    assert space.contains(me.read("sub"))


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("", "at least one skill"),
        ("nonsense=1", "There is no skill 'nonsense'"),
        ("add:9", "numbered from 1 to 4"),
        ("add=much", "has no number; write add=2"),
        ("add=-1", "negative or too large"),
        ("add=inf", "negative or too large"),
    ],
)
def test_what_cannot_be_read_is_answered(said: str, answer: str) -> None:
    with pytest.raises(ValueError, match=answer):
        person().read(said)


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("kdgym/DataGen-Math-SkillTree-v0", "explore add, change mul=-0.5"),
        ("kdgym/Feedback-Math-v0", "fraction=0.5, kind: prefix"),
        ("kdgym/Orchestrate-Math-v0", "lane: coach, operation: write"),
        ("kdgym/Snapshot-PointMaze-v0", "cluster 3=0.25, cluster 1=0.75, ordinary=0.25"),
        ("kdgym/Classroom-Math-v0", "bid of teacher 1=0.5"),
        ("kdgym/Tutoring-Math-v0", "ask about one_hard=0.5, kind: prefix"),
    ],
)
def test_other_decisions_are_typed_by_name(env_id: str, words: str) -> None:
    me = person(env_id)
    told = me.space.decisions(me.read(words), me.skills)
    for part in words.split(", "):
        name, _, value = part.partition("=")
        assert float(told[name]) == pytest.approx(float(value or 1), abs=1e-3)
    with pytest.raises(
        ValueError, match=f"no decision 'shout'; there are .*{words.rpartition(', ')[2].partition('=')[0]}"
    ):
        me.read("shout=1")
    with pytest.raises(ValueError, match="has no number; write"):
        me.read(f"{words}=much")


def test_choices_are_typed_as_numbers_and_texts_as_they_are() -> None:
    menu = person("kdgym/Feedback-Math-v0", actions="discrete")
    numbers = menu.space.sample().tolist()
    assert menu.read(" ".join(map(str, numbers))).tolist() == numbers
    with pytest.raises(ValueError, match="1 numbers were given"):
        menu.read("1")
    assert person("kdgym/DataGen-Math-OpenEnded-v0").read('[{"draw": 3}]') == '[{"draw": 3}]'


def test_a_persons_record_is_sound_replays_and_stands_on_the_board(tmp_path: Path) -> None:
    lessons = "add=1 sub=2\nwhat\nmul\n" + "\n" * 22  # the second student's first line is asked again
    command = ["teach", ID, "--name", "by hand", "--authors", "Ada", "--boards", str(tmp_path)]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, command, input=lessons)
    assert done.exit_code == 0, done.output
    assert "There is no skill 'what'" in done.output
    assert "student 2 of 2" in done.output
    assert "Test score" in done.output
    record = load_record(tmp_path / ID / "by-hand--ada.json")
    assert (record.agent.kind, record.agent.source, len(record.outcome.seeds)) == ("human", None, 2)
    assert check(record).passed
    assert replay(record).passed
    make_record(ID, "uniform", "uniform", ["kdgym"], kind="control").save(tmp_path / ID / "uniform--kdgym.json")
    rows = {row.record.agent.name: row for row in read_board(tmp_path, ID)}
    assert rows["by hand"].gain is not None
    assert len(rows["by hand"].scores) == 2


def test_a_record_is_of_the_boards_own_settings(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["teach", ID, "--set", "steps=2", "--boards", str(tmp_path)])
    assert "leave --set out, or --boards" in str(refused.exception)


def test_only_persons_may_teach_fewer_students() -> None:
    record = make_record(ID, "uniform", "few", ["Ada"])
    outcome = record.outcome.model_copy(
        update={
            name: getattr(record.outcome, name)[:2] for name in ("seeds", "before", "after", "right", "asked", "curve")
        }
    )
    finding = check(record.model_copy(update={"outcome": outcome}))
    assert not finding.passed
    assert "seeds are not the board's" in finding.text
