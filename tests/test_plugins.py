"""Another package's task, students, environment and teachers: registered by calls, by entry points, and installed for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from build import ProjectBuilder

import kdgym
import kdgym.students
import kdgym.tasks
from kdgym.catalogue import AGENTS, groups, require_fit, roles, rule
from kdgym.evaluation import agent_class, evaluate, load_agent, teach
from kdgym.evaluation.statistics import mean_interval
from kdgym.leaderboard.submit import source_of
from kdgym.plugins import PluginError, Registry, plugin_packages
from kdgym.registration import ENVIRONMENTS, TABLE, find
from kdgym.tasks import make_task
from kdgym.testing import check, check_splits

PACKAGE = Path(__file__).parent / "plugin"
ID, MATH = "digits/Drill-v0", "kdgym/DataGen-Math-v0"


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    """The package, by calls; what is registered is forgotten at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGE)
        for registry in (AGENTS, TABLE, kdgym.students._REGISTRY, kdgym.tasks.REGISTRY):
            patch.setattr(registry, "added", dict(registry.added))
        from kdgym_digits.linear import LINEAR
        from kdgym_digits.registered import DRILL
        from kdgym_digits.task import Digits

        kdgym.register_task("Digits", Digits)
        kdgym.register_students("linear", LINEAR)
        kdgym.register_environment(DRILL)
        kdgym.register_agent("on_target", "kdgym_digits.teachers:OnTarget")
        kdgym.register_agent("follows_reward", "kdgym_digits.teachers:FollowsReward")
        yield
        del gym.registry[ID]


@pytest.mark.slow
def test_an_environment_of_another_package_keeps_the_contract(registered: None) -> None:
    check(ID)


@pytest.mark.slow
@pytest.mark.parametrize("id", [ID, MATH])
def test_its_students_learn_in_any_environment(registered: None, id: str) -> None:
    check(id, student="linear", task="Digits")
    taught = evaluate(id, "on_target", 16, student="linear", task="Digits", steps=6)
    assert mean_interval(taught.after - taught.before).low > 0
    with pytest.raises(ValueError, match=r"rate"):
        gym.make_vec(MATH, num_envs=1, student="linear", task="Digits", student_options={"rate": -1})
    with pytest.raises(ValueError, match=r"choose from transformer, .*, linear"):
        gym.make_vec(MATH, num_envs=1, student="linea")


def test_its_task_stands_beside_kdgyms(registered: None) -> None:
    task = make_task("Digits")
    check_splits(task)
    envs: Any = gym.make_vec(MATH, num_envs=1, task="Digits")
    assert [skill["name"] for skill in envs.metadata["skills"]] == ["larger", "smaller", "last of sum"]
    with pytest.raises(ValueError, match=r"choose from Math, .*, Digits"):
        make_task("Digit")


@pytest.mark.slow
def test_its_teacher_teaches_where_it_fits(registered: None) -> None:
    assert roles("Drill") == {
        "uniform": "control",
        "random": "control",
        "on_target": "published rule",
        "follows_reward": "rule",
        "drill_ppo": "train it first",
        "llm": "language model",
    }
    assert roles("DataGen Skill-List")["on_target"] == "also fits"
    assert groups("on_target") == ["DataGen Skill-List", "Drill"]
    assert rule("on_target") == "Practise what counts, in proportion."
    with pytest.raises(ValueError, match="on_target belongs to DataGen Skill-List and Drill"):
        require_fit("kdgym/Feedback-Math-v0", "on_target")
    taught = evaluate(ID, "on_target", 16, items=256)
    assert (taught.after - taught.before).mean() > 0.1
    target = np.eye(14, dtype=np.float32)[:1]
    envs: Any = gym.make_vec(MATH, num_envs=1)
    shares = envs.single_action_space.decode(
        agent_class("on_target")(None, envs.single_action_space).act({"target": target})
    )
    assert shares[0, : shares.shape[1] // 14].sum() > 0.9


def test_a_bandit_learns_from_its_reward_within_an_episode(registered: None) -> None:
    envs: Any = gym.make_vec(ID, num_envs=8, autoreset=False, pool="evaluation")
    agent: Any = load_agent("follows_reward", envs)
    _, actions = teach(envs, agent, 0)
    envs.reset(seed=0)
    paid = np.full((8, 3), np.inf)
    for action in actions:
        skill = paid.argmax(1)
        assert np.array_equal(envs.single_action_space.decode(action).argmax(1), skill)
        _, reward, *_ = envs.step(action)
        paid[np.arange(8), skill] = reward
    assert np.array_equal(agent.paid, paid)
    assert len({int(a.argmax()) for a in actions[-1]}) > 1  # students that learn differently are taught differently


def test_its_code_stands_for_itself_in_a_record(registered: None) -> None:
    scope: dict[str, Any] = {}
    exec(source_of("on_target") or "", scope)
    assert scope["Agent"].groups == ("DataGen Skill-List",)


def test_names_that_are_taken_are_refused(registered: None) -> None:
    with pytest.raises(ValueError, match=f"already the environment '{MATH}', of kdgym"):
        kdgym.register_environment(ENVIRONMENTS[0])
    with pytest.raises(ValueError, match="already the environment 'digits/Drill-v0'"):
        kdgym.register_environment(find(ID))
    with pytest.raises(ValueError, match="already the task 'Math'"):
        kdgym.register_task("Math", lambda: None)
    with pytest.raises(ValueError, match="already the student 'transformer'"):
        kdgym.register_students("transformer", kdgym.students.STUDENTS["transformer"])
    with pytest.raises(ValueError, match="already the teacher 'stat'"):
        kdgym.register_agent("stat", "kdgym_digits.teachers:OnTarget")


@pytest.mark.parametrize("id", ["Drill-v0", "digits/Drill", "../Drill-v0", "digits/a/b-v0", "digits/Drill_x-v0"])
def test_ids_that_are_no_folders_of_boards_are_refused(registered: None, id: str) -> None:
    with pytest.raises(ValueError, match="give PACKAGE/NAME-vN"):
        replace(find(ID), id=id)


@pytest.mark.parametrize(
    "where", ["kdgym_digits.teachers", "kdgym_digits.nothing:Agent", "kdgym_digits.teachers:Nobody"]
)
def test_a_teacher_that_is_not_there_is_refused(registered: None, where: str) -> None:
    with pytest.raises(ValueError, match=r"no module|no class"):
        kdgym.register_agent("new", where)
    assert "new" not in AGENTS


def test_the_groups_of_a_call_are_those_of_the_teacher(registered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AGENTS, "added", dict(AGENTS.added))
    kdgym.register_agent("one", "kdgym_digits.teachers:OnTarget", groups="Feedback")
    kdgym.register_agent("free", "kdgym_digits.teachers:FollowsReward")
    assert (groups("one"), groups("free")) == (["Feedback"], [])
    require_fit("kdgym/Feedback-Math-v0", "one")
    require_fit("kdgym/Feedback-Math-v0", "free")


# --- entry points ----------------------------------------------------------------------------------------------------


def install(site: Path, name: str, entry_points: str) -> None:
    """What pip leaves of a package that only has entry points."""
    folder = site / f"{name}-0.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (folder / "entry_points.txt").write_text(entry_points)


BROKEN = """
[kdgym.environments]
broken/Raises-v0 = broken:ENTRY
broken/Other-v0 = kdgym_digits.registered:DRILL
kdgym/DataGen-Math-v0 = broken:ENTRY
[kdgym.tasks]
Broken = broken:Task
[kdgym.agents]
broken = broken.nothing:Agent
stat = broken:Agent
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages: kdgym-digits, and one in which everything is wrong."""
    shutil.copytree(PACKAGE / "kdgym_digits", tmp_path / "kdgym_digits", ignore=shutil.ignore_patterns("__pycache__"))
    lines = (PACKAGE / "pyproject.toml").read_text().split('[project.entry-points."')[1:]
    points = "".join("[" + part.split("[tool")[0].replace('"]', "]", 1).replace('"', "") for part in lines)
    install(tmp_path, "kdgym_digits", points)
    install(tmp_path, "broken", BROKEN)
    (tmp_path / "broken.py").write_text("raise RuntimeError('of an older kdgym')\n")
    return tmp_path


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=site)


def test_a_broken_package_is_named_and_takes_nothing_down(site: Path) -> None:
    done = python(site, "-m", "kdgym.cli", "list")
    assert done.returncode == 0, done.stderr
    assert ID in done.stdout and MATH in done.stdout and "Practise what counts" in done.stdout
    assert "broken/" not in done.stdout
    assert all(line.startswith("Warning: ") for line in done.stderr.splitlines())
    for said in (
        "'broken/Raises-v0' of the package broken 0.1 cannot be used: broken:ENTRY fails with RuntimeError: of an older kdgym",
        "'broken/Other-v0' of the package broken 0.1 cannot be used: kdgym_digits.registered:DRILL fails with TypeError",
        f"environment '{MATH}' of broken 0.1 is left out: kdgym has one of that name",
        "teacher 'broken' of the package broken 0.1 cannot be used: broken.nothing:Agent fails",
        "teacher 'stat' of broken 0.1 is left out",
    ):
        assert done.stderr.count(said) == 1, done.stderr
    asked = python(site, "-m", "kdgym.cli", "list", "broken/Raises-v0")
    assert asked.returncode == 2
    assert "Update that package, or uninstall it" in asked.stderr


def test_what_is_only_installed_is_not_imported(site: Path) -> None:
    code = "import sys, kdgym, gymnasium; print(sorted({'broken', 'kdgym_digits', 'torch'} & set(sys.modules)))"
    assert python(site, "-c", code).stdout.strip() == "[]"


@pytest.mark.slow
def test_gymnasium_makes_what_entry_points_name(site: Path) -> None:
    code = f"""
import gymnasium as gym, kdgym
from kdgym.tasks import make_task
print(gym.make({ID!r}).unwrapped.students.num_envs, gym.make_vec({ID!r}, num_envs=3, steps=2).unwrapped.steps)
for what in (lambda: gym.make('broken/Raises-v0'), lambda: make_task('Broken')):
    try:
        what()
    except ValueError as error:
        print(error)
"""
    done = python(site, "-c", code)
    assert done.stdout.startswith("1 2\nThe environment 'broken/Raises-v0' of the package broken 0.1"), done.stderr
    assert "The task 'Broken' of the package broken 0.1 cannot be used" in done.stdout


def test_two_packages_with_one_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("first", "second"):
        install(tmp_path, name, "[kdgym.tests]\nsame = math:pi\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry[float]("kdgym.tests", "number", dict, lambda point: point.load())
    with pytest.warns(UserWarning, match=r"'same' of second 0.1 is left out: first 0.1 has one of that name"):
        assert "same" in registry
    assert registry["same"] == np.pi
    with pytest.raises(ValueError, match=r"already the number 'same', of first 0.1"):
        registry.add("same", 3.0)
    with pytest.raises(KeyError):
        registry["other"]


def test_the_sandbox_shows_teachers_the_packages_that_are_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    assert plugin_packages() == {"broken", "kdgym_digits"}


def test_what_kdgym_does_not_have_is_no_attribute() -> None:
    assert not hasattr(kdgym, "register_nothing")
    assert all(callable(getattr(kdgym, name)) for name in kdgym.__all__)


def test_a_thing_that_fails_is_tried_again_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path, "late", "[kdgym.tests]\nlate = math:nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry[float]("kdgym.tests", "number", dict, lambda point: point.load())
    with pytest.warns(UserWarning, match="late 0.1"):
        assert registry.usable() == {}
    assert registry.usable() == {}  # and no second warning, which would be an error here
    with pytest.raises(PluginError, match=r"math:nothing fails with AttributeError"):
        registry["late"]


# --- installed for real ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``kdgym`` of a virtual environment that has kdgym's packages and, beside them, a wheel of this one."""
    folder = tmp_path_factory.mktemp("venv")
    folder.chmod(0o755)  # a verifier that is root runs agents as another user, who reads the environment
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "ours.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    clone = shutil.copytree(PACKAGE, folder / "clone", ignore=shutil.ignore_patterns("__pycache__"))
    zipfile.ZipFile(ProjectBuilder(clone).build("wheel", folder / "dist")).extractall(site)
    return folder / "bin" / "python"


@pytest.mark.thorough
def test_an_installed_package_is_compared_submitted_and_verified(program: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        command = [str(program), "-m", "kdgym.cli", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "on_target" in run("list", ID)
    run("compare", ID, "--episodes", "4", "--json", "results.json", "--set", "student=linear")
    assert {row["agent"] for row in json.loads((tmp_path / "results.json").read_text())["agents"]} == {
        "uniform", "random", "on_target", "follows_reward",
    }  # fmt: skip
    run("train", ID, "--agent", "drill_ppo", "--steps", "24", "--out", "runs")
    run("compare", ID, "--episodes", "4", "--agents", "drill_ppo:runs/model.zip", "--picture", "picture.png")
    code = "import numpy as np\nfrom kdgym_digits.teachers import FollowsReward\n\n\nclass Agent(FollowsReward):\n"
    code += "    def act(self, observation):\n        return np.float32(0.9) * super().act(observation)\n"
    (tmp_path / "mine.py").write_text(code)
    run("submit", "mine.py", "--env", ID, "--name", "bandit", "--authors", "somebody")
    record = next((tmp_path / "leaderboards" / ID).glob("*.json"))
    said = run("verify", str(record), "--level", "2", "--students", "8")
    assert "8 students, rule" in said
    assert "8 students replayed bit for bit" in said
    assert "level 2: passed: gain over uniform of 8 new students" in said
    run("leaderboard", "fill", "--ids", ID)
    run("leaderboard", "build")
    run("leaderboard", "check")
