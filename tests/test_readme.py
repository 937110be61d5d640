"""What the README and the pages of docs say is run, so that it stays true."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.testing.compare import compare_images
from stable_baselines3 import PPO
from typer.main import get_command
from typer.testing import CliRunner

from kdgym.agents.datagen import ppo
from kdgym.cli import app
from kdgym.registration import ENVIRONMENTS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
ENVIRONMENT_PAGE = (DOCS / "environments.md").read_text()
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def code_block(containing: str, page: str = README, language: str = "python") -> str:
    blocks = [block for block in re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL) if containing in block]
    assert len(blocks) == 1, f"{len(blocks)} code blocks contain {containing!r}"
    return str(blocks[0])


def call(*arguments: str) -> None:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output


def commands(page: str) -> Iterator[str]:
    """The command lines of a page that begin with kdgym, continued lines joined."""
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", page, flags=re.DOTALL):
        yield from (line for line in block.replace("\\\n", "").splitlines() if line.startswith("kdgym "))


def test_first_lines_print_what_stands_below_them(capsys: pytest.CaptureFixture[str]) -> None:
    """To the last digit but one: the last depends on the processor, as the README says."""
    shown = [code_block("In base 6", language="text")]
    exec(code_block("envs.task.text"), {})
    printed, number = capsys.readouterr().out, re.compile(r"\d\.\d\d")
    assert [number.sub("#", printed)] == [number.sub("#", text) for text in shown]
    assert float(number.findall(printed)[0]) == pytest.approx(float(number.findall(shown[0])[0]), abs=0.015)


def test_sb3_lines_are_the_settings_of_the_packaged_teacher() -> None:
    names: dict[str, Any] = {}
    exec(code_block("as_vec_env").partition("model.learn")[0], names)
    model: PPO = names["model"]
    ours = ppo.Agent.hyperparameters
    assert {name: model.clip_range(1) if name == "clip_range" else getattr(model, name) for name in ours} == ours
    assert type(model.policy) is ppo.Agent.network


@pytest.mark.slow
def test_sb3_lines_train_and_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, names = code_block("as_vec_env"), dict[str, Any]()
    exec(re.sub(r"learn\([\d_]+\)", "learn(768)", code), names)
    started: dict[str, Any] = {}
    exec(code.partition("model.learn")[0], started)
    weights = [names["model"].policy.mlp_extractor.score.weight, started["model"].policy.mlp_extractor.score.weight]
    assert not np.array_equal(*(weight.detach().numpy() for weight in weights))
    call("evaluate", "kdgym/DataGen-Math-v0", "--agent", "teacher.zip", "--episodes", "2", "--set", "steps=1")


@pytest.mark.slow
def test_the_teacher_that_is_shown_beats_uniform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(code_block("(Teacher)"))
    call("compare", "kdgym/DataGen-Math-v0", "--agents", "mine.py", "--episodes", "16", "--json", "found.json")
    found = {row["agent"]: row for row in json.loads((tmp_path / "found.json").read_text())["agents"]}
    assert found["mine.py"]["minus_control"]["low"] > 0


def test_the_result_is_that_of_the_leaderboard(tmp_path: Path) -> None:
    script = runpy.run_path(str(DOCS / "draw_result.py"))
    assert "\n".join(script["table"]()) in README
    script["draw"](tmp_path / "result.png")
    assert compare_images(str(DOCS / "result.png"), str(tmp_path / "result.png"), tol=10) is None


def test_snapshot_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(code_block("branch(8)", ENVIRONMENT_PAGE), {})
    assert (tmp_path / "student.safetensors").is_file()


def test_writing_lines_teach() -> None:
    names: dict[str, Any] = {}
    exec(code_block("OpenEnded", ENVIRONMENT_PAGE), names)
    assert names["info"]["items/verified"] == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    """Every command and option of a page exists and takes what is given."""
    for line in commands(page.read_text()):
        words, command = shlex.split(line, comments=True)[1:], get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(line, words)


def test_every_id_is_mentioned() -> None:
    assert [entry.id for entry in ENVIRONMENTS if f"`{entry.id}`" not in ENVIRONMENT_PAGE] == []
    assert f"all {sum(not entry.closed for entry in ENVIRONMENTS)} ids" in README


def test_files_and_pictures_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)|src=\"([^\"]+)\"", README)
    assert links
    assert [link for link in map("".join, links) if not (ROOT / link).exists()] == []
