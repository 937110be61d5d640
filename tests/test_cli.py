"""The command line, as a person uses it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import kdgym
import kdgym.agents.datagen.constant
import kdgym.teaching.search
from kdgym.catalogue import roles
from kdgym.cli import app
from kdgym.registration import ENVIRONMENTS

ID = "kdgym/DataGen-Math-v0"
runner = CliRunner(env={"COLUMNS": "100"})


def call(*arguments: str) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A command and all that are below it, with what a person types for each."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    page = call(*path, "--help")
    assert f"Usage: root {' '.join(path)}".strip() in page
    assert command.help
    assert " ".join(command.help.split()[:3]) in page
    assert [parameter.name for parameter in command.params if not getattr(parameter, "help", "")] == []
    assert all(name in page for name in getattr(command, "commands", {}))


@pytest.mark.slow
def test_help_and_list_import_nothing_heavy() -> None:
    asked = [[*path, "--help"] for path in COMMANDS] + [["list"]]
    code = (
        "import sys; from typer.testing import CliRunner; from kdgym.cli import app\n"
        f"codes = [CliRunner().invoke(app, arguments).exit_code for arguments in {asked}]\n"
        "heavy = {'matplotlib', 'scipy', 'stable_baselines3', 'torch', 'transformers'}\n"
        "print(set(codes), heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{0} set()"


def test_the_version_is_the_packages() -> None:
    assert call("--version") == f"kdgym {kdgym.__version__}\n"
    assert metadata.version("kdgym") == kdgym.__version__


def test_help_shows_commands_in_panels_and_in_their_order() -> None:
    page = call("--help")
    shown = ("Look", "list", "watch", "Train", "train", "Compare", "compare", "Leaderboard", "submit", "Families")
    places = [page.index(f" {name} ") for name in shown]
    assert places == sorted(places)


def test_list_groups_teachers_by_where_they_fit() -> None:
    _, *groups = re.split(r"^(\S.*?) ─+\n", call("list"), flags=re.MULTILINE)
    pages = dict(zip(groups[::2], groups[1::2], strict=True))
    assert set(pages) == {entry.group for entry in ENVIRONMENTS}
    for group, page in pages.items():
        assert all(entry.id in page for entry in ENVIRONMENTS if entry.group == group)
        taught = {line.split()[0] for line in page.splitlines() if line.startswith(" ")}
        assert set(roles(group)) <= taught
    assert " s3rl " not in pages["DataGen Skill-List"]
    assert re.search(r" ppo +train it first ", pages["DataGen Skill-List"])


def test_list_says_why_an_environment_is_closed() -> None:
    page = " ".join(call("list", "kdgym/DataGen-Reasoning-v0").split())
    assert "Closed: most held-out products" in page and "Use kdgym/DataGen-Reasoning-v1." in page
    assert "Closed" not in call("list", "kdgym/DataGen-Reasoning-v1")


def test_list_of_an_environment_shows_all_that_its_teachers_say() -> None:
    page = " ".join(call("list", "kdgym/Tutoring-Math-v0").split())
    assert "kdgym/DataGen" not in page
    assert page.endswith("the control that every teacher has to beat.")
    assert "…" not in page


@pytest.mark.slow
def test_compare_writes_table_picture_and_records(tmp_path: Path) -> None:
    picture, records = tmp_path / "c.png", tmp_path / "c.json"
    agents = "random,target_proportional"
    output = call(
        "compare", ID, "--agents", agents, "--episodes", "2", "--picture", str(picture), "--json", str(records)
    )
    assert "minus uniform" in output
    assert picture.is_file()
    assert {row["agent"] for row in json.loads(records.read_text())["agents"]} == {
        "random",
        "target_proportional",
        "uniform",
    }


@pytest.mark.slow
def test_misconceptions_and_retention_have_tables_of_their_own() -> None:
    options = ("--agents", "informed", "--episodes", "2", "--misconceptions", "drops_carries,adds_to_multiply")
    output = call("compare", ID, *options, "--retention", "64")
    for heading in ("minus uniform", "followed", "cured", "harm", "retention"):
        assert heading in output


@pytest.mark.slow
def test_a_placebo_has_a_table_of_its_own_and_settings_are_passed_on(tmp_path: Path) -> None:
    records, settings = (
        tmp_path / "c.json",
        ("--set", "steps=2", "--set", "validation_items=2", "--set", "reward=log_loss"),
    )
    output = call(
        "compare", ID, "--agents", "uniform", "--episodes", "2", "--placebo", *settings, "--json", str(records)
    )
    assert "learned" in output
    record = json.loads(records.read_text())["records"][0]
    assert len(record["besides"]["placebo"]) == 2
    assert len(record["curve"][0]) == 2 + 1
    result = runner.invoke(app, ["evaluate", ID, "--agent", "random", "--set", "steps"])
    assert "NAME=VALUE" in str(result.exception)


@pytest.mark.slow
def test_evaluate_puts_the_control_beside_the_teacher() -> None:
    output = call("evaluate", ID, "--agent", "target_proportional", "--episodes", "2")
    assert "target_proportional" in output
    assert "uniform" in output


@pytest.mark.thorough
def test_headroom_goes_from_the_floor_to_the_upper_bound() -> None:
    output = call("headroom", ID, "--episodes", "4")
    for role in ("untaught", "best control", "best static", "best rule", "upper bound"):
        assert role in output


@pytest.mark.slow
def test_watch_shows_the_lesson_and_saves_it(tmp_path: Path) -> None:
    output = call("watch", ID, "--agent", "uniform", "--picture", str(tmp_path / "new" / "lesson.png"))
    assert "step 12/12" in output
    assert (tmp_path / "new" / "lesson.png").is_file()


@pytest.mark.thorough
def test_watch_shows_what_students_of_another_family_learn(tmp_path: Path) -> None:
    output = call("watch", "kdgym/Feedback-Math-v0", "--picture", str(tmp_path / "lesson.png"))
    assert "step 8/8" in output
    assert "tokens" in output
    assert (tmp_path / "lesson.png").is_file()


@pytest.mark.slow
def test_train_and_use_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CANDIDATES", 2), ("STUDENTS", 2), ("ELITE", 1)):
        monkeypatch.setattr(kdgym.teaching.search, name, value)
    output = call("train", ID, "--agent", "constant", "--steps", "40", "--out", str(tmp_path))
    assert "kdgym evaluate" in output
    call("evaluate", ID, "--agent", f"constant:{tmp_path / 'constant.json'}", "--episodes", "2")


@pytest.mark.slow
def test_training_takes_settings_and_hyper_parameters(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--steps", "8"]
    chosen = [
        "--set",
        "steps=4",
        "--set",
        "radix=8",
        "--hyper",
        "n_steps=4",
        "--hyper",
        "students=2",
        "--device",
        "cpu",
    ]
    output = call("train", ID, *out, *chosen)
    assert "--set steps=4 --set radix=8" in " ".join(output.split())
    call(
        "evaluate",
        ID,
        "--agent",
        f"ppo:{tmp_path / 'model.zip'}",
        "--episodes",
        "2",
        "--set",
        "steps=4",
        "--set",
        "radix=8",
    )
    refused = runner.invoke(app, ["train", ID, *out, *chosen[:-2], "--hyper", "gamma=0.9"])
    assert "belongs to another run" in str(refused.exception)


def test_ctrl_c_in_training_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(kdgym.agents.datagen.constant.Agent, "train", interrupted)
    result = runner.invoke(app, ["train", ID, "--agent", "constant", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert "goes on from the last checkpoint" in result.output
