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
    shares = np.exp(4 * me.views[0].read("sub=3 mul.2=1").astype(float)).reshape(14, 4)
    shares /= shares.sum()
    sub, mul = me.views[0].skills.index("sub"), me.views[0].skills.index("mul")
    np.testing.assert_allclose(shares[sub], 3 / 16, atol=0.01)
    assert shares[mul, 1] == pytest.approx(1 / 4, abs=0.01)
    assert space.contains(me.views[0].read("sub"))
    assert np.ptp(me.views[0].read("")) == 0  # the even split


def test_a_source_of_its_own_weight_stands_beside_the_skills() -> None:
    me = person()
    shares = me.space.decode(me.views[0].read("add=4, add.1=3")).reshape(14, 4)[me.views[0].skills.index("add")]
    np.testing.assert_allclose(shares, np.array([3, 1, 1, 1]) / 6, atol=0.01)


def test_subskills_of_a_tree_are_changed_one_by_one() -> None:
    me = person("kdgym/DataGen-Math-SkillTree-v0")
    moves = me.views[0].read("change add=0.5, change add.3=-1, explore mul").reshape(14, -1)
    assert moves[me.views[0].skills.index("add"), 1:5].tolist() == [0.5, 0.5, -1, 0.5]
    assert moves[me.views[0].skills.index("mul"), 0] == 1
    with pytest.raises(ValueError, match=r"'explore add.1' is no part"):
        me.views[0].read("explore add.1=1")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("nonsense=1", "There is no decision 'nonsense'"),
        ("nonsense.1=1", "There is no decision 'nonsense.1'"),
        ("add.9", "'add.9' is no part of add; it has 4, numbered from 1"),
        ("add.0", "'add.0' is no part of add"),
        ("add.x", "'add.x' is no part of add"),
        ("add=much", "has no number; write add=2"),
        ("add=-1", "add is -1.0; give 0 or more"),
        ("add=inf", "add is inf; give 0 or more"),
        ('{"add": "much"}', "add is 'much'; give 0 or more"),
        ("{add}", "is no JSON"),
        ("add=0", "finite, non-negative and not all zero"),
    ],
)
def test_what_cannot_be_read_is_answered(said: str, answer: str) -> None:
    with pytest.raises(ValueError, match=answer):
        person().views[0].read(said)


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
    told = me.space.decisions(me.views[0].read(words), me.views[0].skills)
    for part in words.split(", "):
        name, _, value = part.partition("=")  # of a choice, what is told is whether an option was chosen
        assert float(told[name]) == pytest.approx(float(value or 1), abs=1e-3)
    with pytest.raises(
        ValueError,
        match=f"no decision 'shout'; there are .*{words.rpartition(', ')[2].partition('=')[0].partition(':')[0]}",
    ):
        me.views[0].read("shout=1")
    last = words.rpartition(", ")[2]
    with pytest.raises(ValueError, match="choose from" if ":" in last else "has no number; write"):
        me.views[0].read(f"{last.partition('=')[0]}=much" if ":" not in last else f"{last}much")


def test_choices_are_typed_as_numbers_and_texts_as_they_are() -> None:
    menu = person("kdgym/Feedback-Math-v0", actions="discrete")
    numbers = menu.space.sample().tolist()
    assert menu.views[0].read(" ".join(map(str, numbers))).tolist() == numbers
    with pytest.raises(ValueError, match="1 numbers were given"):
        menu.views[0].read("1")
    assert person("kdgym/DataGen-Math-OpenEnded-v0").views[0].read('[{"draw": 3}]') == '[{"draw": 3}]'


def taught(env_id: str, typed: str, *options: str) -> str:
    done = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["teach", env_id, *options], input=typed)
    assert done.exit_code == 0, done.output
    return done.output


def test_what_can_be_bought_is_shown_by_the_name_that_buys_it() -> None:
    shown = taught(ID, "quit\n")
    assert "gcd: The greatest common divisor." in shown
    assert "or a list of 4, one a part" in shown
    assert " add_three.4 " in shown
    assert shown.count("price ") == 1 and taught(ID, "all\nquit\n").count("price ") == 2
    assert "price: money an item of each source costs" in taught(ID, "help\nquit\n")
    assert "Stopped; nothing was written." in shown


def test_what_a_written_lesson_shows_tells_no_skill() -> None:
    shown = taught("kdgym/DataGen-Math-OpenEnded-v0", "quit\n")
    assert "practice tried 32; practice right" in shown
    assert "\n1. In base" in shown and '{"problem": "In base' not in shown
    assert "add_three" not in shown


def test_the_student_before_can_be_decided_again_while_nobody_has_learned(tmp_path: Path) -> None:
    once = ["--set", "steps=2"]
    straight = taught(ID, "mul\nsub\n\n\n", *once)
    again = taught(ID, "gcd\nundo\nmul\nsub\nundo\n\n\n", *once)
    assert "There is nothing to take back" in again
    assert "Your last decision earned" in straight
    assert straight.splitlines()[-1] == again.splitlines()[-1]
    assert straight.splitlines()[-1].startswith("Test score")


def test_a_persons_record_is_sound_replays_and_stands_on_the_board(tmp_path: Path) -> None:
    lessons = "add=1 sub=2\nwhat\nmul\n" + "\n" * 22  # the second student's first line is asked again
    command = ["teach", ID, "--name", "by hand", "--authors", "Ada", "--boards", str(tmp_path)]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, command, input=lessons)
    assert done.exit_code == 0, done.output
    assert "There is no decision 'what'" in done.output
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
