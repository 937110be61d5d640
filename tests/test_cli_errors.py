"""What a person did wrong is said in a sentence by the command line, and what is missing by name."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import gymnasium as gym
import pytest

import kdgym.evaluation
from kdgym.cli import main
from kdgym.cli.errors import EXTRAS

ID = "kdgym/DataGen-Math-v0"
ASKING = ("--base-url", "http://127.0.0.1:9/v1", "--model", "x")
SIGNED = ("--name", "x", "--authors", "y")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a person reads who did something wrong: a sentence, in one line as nothing here is a terminal."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "kdgym/Nothing-v0", "--agent", "uniform"], "choose from kdgym/DataGen-Math-v0"),
        (["watch", "kdgym/Snapshot-CartPol-v0"], "Did you mean 'kdgym/Snapshot-CartPole-v0'?"),
        (["submit", "random", "--env", "datagen-math-v0", *SIGNED], "Did you mean 'kdgym/DataGen-Math-v0'?"),
        (["evaluate", ID, "--agent", "nobody"], "There is no agent 'nobody'. Give a name"),
        (["watch", ID, "--agent", "rnadom"], "Did you mean 'random'?"),
        (["evaluate", ID, "--agent", "random", "--set", "stesp=4"], "no setting 'stesp'. Did you mean 'steps'?"),
        (["evaluate", ID, "--agent", "random", "--set", "steps"], "NAME=VALUE"),
        (["evaluate", ID, "--agent", "uniform", "--device", "nonsense"], "Try 'cpu'"),
        (["train", ID, "--agent", "uniform", "--out", "x"], "nothing to train"),
        (["train", ID, "--agent", "constant", "--hyper", "gamma=1", "--out", "x"], "has no hyper-parameters to choose"),
        (["train", ID, "--hyper", "gamma=2", "--out", "x"], "The hyper-parameter gamma=2 is refused"),
        (["train", ID, "--hyper", "gamma", "--out", "x"], "--hyper takes NAME=VALUE"),
        (["compare", ID, "--agents", "uniform", "--misconceptions", "nonsense"], "choose from drops_carries"),
        (["evaluate", ID, "--agent", "ppo:missing.zip"], "missing.zip: file not found."),
        (["evaluate", ID, "--agent", "missing.py"], "missing.py: file not found."),
        (["verify", "nothing.json"], "nothing.json: file not found."),
        (["snapshots", "collect", "Pendulum-v1", "--out", "x"], "exactly one of --policy, --agent, --minari"),
    ],
)
def test_errors_are_sentences(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("teacher", "home"),
    [
        ("s3rl", "Snapshot (kdgym/Snapshot-CartPole-v0"),
        ("tree_target", "DataGen Skill-Tree (kdgym/DataGen-Math-SkillTree-v0"),
        ("atlas", "Orchestrate (kdgym/Orchestrate-Math-v0"),
        ("always_coach", "Orchestrate (kdgym/Orchestrate-Math-v0"),
        ("bid_target", "Classroom (kdgym/Classroom-Math-v0"),
        ("open_ended", "DataGen Open-Ended (kdgym/DataGen-Math-OpenEnded-v0"),
        ("lane_ppo:model.zip", "Orchestrate (kdgym/Orchestrate-Math-v0"),
    ],
)
def test_a_teacher_of_another_family_is_told_where_it_belongs(
    teacher: str, home: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "evaluate", ID, "--agent", teacher)
    assert f"The teacher {teacher.partition(':')[0]} belongs to {home}, for example) and does not fit {ID}" in said


@pytest.mark.parametrize(
    "command",
    [
        ["submit", "s3rl", "--env", ID, *SIGNED],
        ["compare", ID, "--agents", "uniform,s3rl"],
        ["watch", ID, "--agent", "s3rl"],
        ["train", ID, "--agent", "start_search", "--out", "x"],
        ["snapshots", "collect", ID, "--agent", "s3rl", "--out", "x"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_refuses_a_teacher_of_another_family(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gym, "make_vec", None)  # no environment is made before
    assert "belongs to Snapshot" in refused(capsys, *command)


@pytest.mark.parametrize(
    "command", [["evaluate", ID, "--agent"], ["watch", ID, "--agent"], ["submit", "--env", ID, *SIGNED]]
)
def test_what_has_to_be_trained_first_is_told_before_any_work(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gym, "make_vec", None)
    assert f"trained first: kdgym train {ID} --agent ppo --out DIR" in refused(capsys, *command, "ppo")


HEAD = "class Agent:\n    def __init__(self, observation_space, action_space, seed=0): pass\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            HEAD.replace(", seed=0", "") + "    def act(self, observation): pass\n",
            "takes (observation_space, action_space); it has to take (observation_space, action_space, seed=0).",
        ),
        (
            HEAD + "    def act(self, seen):\n        return seen['clusters']\n",
            "failed in line 4 (act): KeyError: 'clusters'.",
        ),
        ("def Agent(:\n", "is not valid Python: invalid syntax (mine.py, line 1)."),
        ("import numpy\nnumpy.array(object(), dtype=float)\n", "failed in line 2 (<module>): TypeError: float()"),
    ],
)
def test_what_is_wrong_with_an_own_agent_names_it_and_the_line(
    code: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(code)
    said = refused(capsys, "watch", ID, "--agent", "mine.py")
    assert "mine.py" in said
    assert message in said
    monkeypatch.setenv("KDGYM_DEBUG", "1")
    with pytest.raises((KeyError, TypeError, ValueError)):
        main(["watch", ID, "--agent", "mine.py"])


def test_a_fault_of_kdgym_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdgym.evaluation, "Policy", lambda *_: {}["fault"])
    with pytest.raises(KeyError, match="fault"):
        main(["watch", ID, "--agent", "uniform"])


# A package of several extras is said to be of the first.
OF_EXTRAS = {package: extra for extra in reversed(EXTRAS) for package in EXTRAS[extra]}


@pytest.mark.parametrize(("package", "extra"), OF_EXTRAS.items())
def test_a_missing_package_names_its_extra(
    package: str, extra: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    mine = tmp_path / "mine.py"
    mine.write_text(f"import {package}\n{HEAD}")
    assert f"package {package}, which is not installed: pip install 'kdgym[{extra}]'." in refused(
        capsys, "evaluate", ID, "--agent", str(mine)
    )


@pytest.mark.parametrize(
    ("arguments", "module", "importer", "extra"),
    [
        (
            ["evaluate", ID, "--agent", "llm", *ASKING],
            "openai",
            "kdgym.llm.endpoint",
            "llm",
        ),
        (["export", "minari", "x.json", "--dataset", "x-v0"], "minari", "kdgym.integrations.minari", "minari"),
        (
            ["snapshots", "collect", "Hopper-v5", "--minari", "x", "--out", "x"],
            "minari",
            "kdgym.integrations.minari",
            "minari",
        ),
        (
            ["snapshots", "collect", "Hopper-v5", "--policy", "x.zip", "--out", "x"],
            "mujoco",
            "gymnasium.envs.mujoco",
            "mujoco",
        ),
    ],
)
def test_the_commands_name_the_extra_they_need(
    arguments: list[str],
    module: str,
    importer: str,
    extra: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if importer and name.startswith(importer)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert f"pip install 'kdgym[{extra}]'" in refused(capsys, *arguments)


def test_every_package_of_an_extra_is_known_by_it() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    name = re.compile(r"[\w-]+")
    always = {"kdgym", *(name.match(each)[0] for each in project["dependencies"])}
    distributions = metadata.packages_distributions()
    for extra, packages in EXTRAS.items():
        brought = {name.match(each)[0] for each in project["optional-dependencies"][extra]} - always
        known = {name for package in packages for name in (package, *distributions.get(package, ()))}
        assert brought <= {each.replace("_", "-").lower() for each in known}
    of_work = {"all", "bench", "dev", "docs"}
    assert set(EXTRAS) == set(project["optional-dependencies"]) - of_work
