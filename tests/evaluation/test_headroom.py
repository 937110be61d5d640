"""Room to win: the best of a kind is chosen on students that do not score it, and constants are constants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from kdgym.catalogue import agent_names, groups
from kdgym.cli import app
from kdgym.evaluation import NO_TEACHING, agent_class, load_agent
from kdgym.evaluation.headroom import Kind, Room, best_of, kinds_of, room, teachers_of
from kdgym.evaluation.report import room_remarks, room_table
from kdgym.registration import environments, find
from kdgym.teaching import Fixed, Teacher

ID = "kdgym/DataGen-Math-v0"
RNG = np.random.default_rng(0)
KINDS: dict[str, tuple[Kind, ...]] = {
    NO_TEACHING: ("untaught",),
    "plain": ("control", "static"),
    "preset": ("static",),
    "reacting": ("rule",),
    "trained": ("learned",),
    "knowing": ("bound",),
}
LEVELS = {NO_TEACHING: 0.1, "plain": 0.3, "preset": 0.4, "reacting": 0.5, "trained": 0.6, "knowing": 0.7}


def example(**levels: float) -> Room:
    scores = {name: level + 0.01 * RNG.normal(size=32) for name, level in {**LEVELS, **levels}.items()}
    return room(ID, "made up", scores, KINDS)


def test_the_best_is_chosen_on_the_other_half() -> None:
    """Each is best where it is scored and worst where it is chosen, so choosing on all students would find 1."""
    even, odd = np.tile([1.0, 0.0], 4), np.tile([0.0, 1.0], 4)
    best = best_of({"even": even, "odd": odd})
    assert best.teachers == ("odd", "even")
    assert best.scores.tolist() == [0.0] * 8


def test_many_equal_teachers_are_no_better_than_one() -> None:
    scores = {str(i): RNG.normal(size=64) for i in range(200)}
    chosen = max(values.mean() for values in scores.values())
    assert chosen > 0.25
    assert best_of(scores).scores.mean() < chosen - 0.1


def test_choosing_needs_two_students_a_half() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        best_of({"one": np.zeros(3)})


def test_differences_are_those_of_neighbouring_kinds() -> None:
    found = example()
    means = {kind: difference.interval.mean for kind, difference in found.differences.items()}
    assert means == pytest.approx({"control": 0.2, "static": 0.1, "rule": 0.1, "learned": 0.2, "bound": 0.1}, abs=0.02)
    assert found.rows["static"].teachers == ("preset",)
    assert all(difference.is_room for difference in found.differences.values())


def test_a_small_or_an_unclear_difference_is_no_room() -> None:
    assert not example(reacting=0.42).differences["rule"].is_room  # clear, and small
    scores = {"plain": np.zeros(8), "reacting": np.array([1.0, -0.8] * 4)}
    assert not room(ID, "", scores, KINDS).differences["rule"].is_room  # 0.1, and nobody knows
    assert not example(trained=0.69).differences["bound"].is_room  # of learned teachers and rules the better one


def test_rules_have_to_be_better_than_controls_that_are_no_constants() -> None:
    scores = {"chance": np.full(8, 0.5), "preset": np.full(8, 0.3), "reacting": np.full(8, 0.52)}
    found = room(ID, "", scores, {**KINDS, "chance": ("control",)})
    assert found.differences["rule"].interval.mean == pytest.approx(0.02)


def test_kinds_follow_from_roles_and_classes() -> None:
    assert kinds_of(NO_TEACHING, "control") == ("untaught",)
    assert kinds_of("uniform", "control") == ("control", "static")
    assert kinds_of("random", "control") == ("control",)
    assert kinds_of("plain_kd", "published rule") == ("static",)
    assert kinds_of("recipe_search:numbers.json", "train it first") == ("static",)
    assert kinds_of("ppo", "rl") == kinds_of("learned", "learned") == kinds_of("llm", "language model") == ("learned",)
    assert kinds_of("lookahead", "oracle") == kinds_of("informed", "upper bound") == ("bound",)
    assert kinds_of("uniform", "rule", is_own=False) == ("rule",)  # another author's of that name


def test_constants_that_only_fit_are_measured_too() -> None:
    found = teachers_of(find("kdgym/Select-Images-v0"), ["select_search:numbers.json"])
    assert found["mini_plm_teacher"] == found["select_search:numbers.json"] == ("static",)
    assert "select_ppo" not in found


def test_who_decides_anew_is_no_constant() -> None:
    class Reacting(Fixed):
        def act(self, observation: Any) -> Any:
            return super().act(observation)

    class Named(Reacting):
        static = True

    assert (Teacher.static, Fixed.static, Reacting.static, Named.static) == (False, True, False, True)


STATIC = [name for name in agent_names() if getattr(agent_class(name), "static", False)]


@pytest.mark.slow
@pytest.mark.parametrize("name", STATIC)
def test_constants_do_the_same_whatever_a_student_does(name: str) -> None:
    entry = next(entry for entry in environments() if entry.group == groups(name)[0] and not entry.slow)
    envs: Any = gym.make_vec(entry.id, num_envs=2, autoreset=False, **entry.small)
    observation, _ = envs.reset(seed=0)
    envs.action_space.seed(0)
    agent = load_agent(name, envs)
    if hasattr(agent, "reset"):
        agent.reset(observation)
    first = np.asarray(agent.act(observation))
    observation, *_ = envs.step(envs.action_space.sample() if name != "tree_constant" else first)
    assert np.array_equal(first, np.asarray(agent.act(observation)))


def test_the_table_fits_into_80_columns() -> None:
    console, found = Console(width=80, record=True), example()
    console.print(room_table(found))
    for line in room_remarks(found):
        console.print(line)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "plain" in line or "preset" in line] == ["best", "best"]
    assert lines[-1].endswith("rule and learned: yes.")


def test_room_by_records_goes_to_a_page_and_json(tmp_path: Path) -> None:
    page, boards = tmp_path / "room.md", tmp_path / "leaderboards"
    page.write_text("Head\n<!-- room -->\nold\n<!-- end -->\nTail\n")
    (boards / ID).mkdir(parents=True)
    source = Path(__file__).parents[2] / "leaderboards" / ID
    for name in ("no-teaching", "uniform", "constant", "adaptive-source", "lookahead"):
        file = f"{name}--kdgym.json"
        (boards / ID / file).write_bytes((source / file).read_bytes())
    done = CliRunner().invoke(app, ["headroom", "--all", "--boards", str(boards), "--page", str(page)])
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert text.startswith("Head\n") and text.endswith("Tail\n") and "old" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("| kdgym/")]
    assert [cell.strip() for cell in row.split("|")][3:6] == ["0.161", "0.192 uniform", "0.330 constant"]
    assert row.count(" yes ") == 2
    (found,) = json.loads(page.with_suffix(".json").read_text())
    assert found["rows"]["rule"]["teachers"] == ["adaptive_source"]
    assert found["differences"]["bound"]["minus"] == "rule"


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    from kdgym.leaderboard.room import write_page

    page = tmp_path / "room.md"
    page.write_text("mine\n")
    with pytest.raises(ValueError, match="add these two lines"):
        write_page([example()], page)
    assert page.read_text() == "mine\n"


@pytest.mark.parametrize("words", [(), (ID, "--all")])
def test_one_environment_or_all(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["headroom", *words])
    assert isinstance(done.exception, ValueError)
    assert "--all" in str(done.exception)
