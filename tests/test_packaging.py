"""What is installed: one top-level name, every module, light to import, imports in one direction."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from build import ProjectBuilder

ROOT = Path(__file__).parent.parent
FOLDERS = {"kdgym": "kdgym", "envs": "kdgym/envs", "agents": "kdgym/agents", "studies": "kdgym/studies"}


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)


def cloned(folder: Path) -> Path:
    """What a clone has of the package: building in the checkout would mix in what an earlier build left there."""
    for name in (*FOLDERS, ".build"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "LICENSE", "MANIFEST.in", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_tree_under_one_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*command, str(cloned(tmp_path / "clone"))], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    expected = {
        f"{target}/{path.relative_to(ROOT / folder)}"
        for folder, target in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".c", ".h")
    }
    assert {name for name in names if name.endswith((".py", ".c", ".h"))} == expected
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"kdgym"}
    assert "kdgym/py.typed" in names


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A clone called kdgym, and a folder of packages in which it is installed, as pip does it."""
    folder = tmp_path_factory.mktemp(request.param)
    clone, site = cloned(folder / "kdgym"), folder / "site"
    wheel = ProjectBuilder(clone).build(request.param, folder / "dist")
    zipfile.ZipFile(wheel).extractall(site)
    return clone, site


@pytest.mark.slow
@pytest.mark.parametrize(
    ("installed", "folder"),
    [("editable", "."), ("editable", "kdgym"), ("editable", "elsewhere"), ("wheel", "."), ("wheel", "elsewhere")],
    indirect=["installed"],
)
def test_the_first_snippet_works_in_every_folder(installed: tuple[Path, Path], folder: str, tmp_path: Path) -> None:
    clone, site = installed
    where = tmp_path if folder == "elsewhere" else clone.parent / folder
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert snippet is not None
    packages = f"import site, sys; site.addsitedir({str(site)!r}); sys.path.append({sysconfig.get_path('purelib')!r})\n"
    shown = "import kdgym.agents; print(reward.shape, kdgym.agents.__file__)"
    code = f"{packages}{snippet[1].replace('range(12)', 'range(1)')}\n{shown}"
    # -S: without the packages of these tests, among which kdgym is installed already.
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=where, check=False)
    place = (site / "kdgym" if (site / "kdgym").is_dir() else clone) / "agents"
    assert done.stdout.split("\n")[-2:] == [f"(64,) {place / '__init__.py'}", ""], done.stderr


def test_importing_kdgym_is_light(tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "vllm", "matplotlib", "stable_baselines3", "scipy", "typer")
    done = python(f"import sys, kdgym; print([name for name in {heavy} if name in sys.modules])", tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


# Makes every installed package unimportable that the hard dependencies do not bring.
ONLY_HARD_DEPENDENCIES = """
import re, sys
from importlib import metadata
from importlib.machinery import PathFinder

def plain(name):
    return re.sub("[-_.]+", "-", name).lower()

installed = {plain(each.name): each for each in metadata.distributions()}
brought, waiting = {"kdgym"}, set(sys.argv[1:])
while waiting:
    name = waiting.pop()
    brought.add(name)
    needs = [need for need in installed[name].requires or () if "extra ==" not in need]
    waiting |= {plain(re.match("[A-Za-z0-9._-]+", need)[0]) for need in needs} & set(installed) - brought
needs = metadata.packages_distributions()
missing = [module for module, owners in needs.items() if not brought & set(map(plain, owners))]
print("Not importable:", missing)
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name in missing else find(name, path, target)
"""
MAIN_JOB = """
import gymnasium as gym
import kdgym
from kdgym.agents.datagen.ppo import Agent as PPO
from kdgym.cli import app

env = gym.make("kdgym/DataGen-Math-v0", steps=1)
env.reset(seed=0)
assert env.step(env.action_space.sample())[2]
for name in ("DataGen-Math-OpenEnded", "DataGen-Math-SkillTree", "Feedback-Math", "Orchestrate-Math", "Orchestrate-Incidents"):
    gym.make(f"kdgym/{name}-v0")
few = ["--episodes", "2", "--set", "steps=1"]
app(["list"], standalone_mode=False)
PPO.students, PPO.hyperparameters = 2, {"n_steps": 1, "batch_size": 2}
app(["train", "kdgym/DataGen-Math-v0", "--agent", "ppo", "--steps", "2", "--out", "ppo"], standalone_mode=False)
app(["compare", "kdgym/DataGen-Math-v0", "--agents", "random,ppo:ppo/model.zip", *few], standalone_mode=False)
app(["leaderboard", "build", "--ids", "kdgym/DataGen-Math-v0", "--boards", "leaderboards"], standalone_mode=False)
"""


@pytest.mark.slow
def test_the_hard_dependencies_suffice_for_the_main_job(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    hard = [re.split("[<>=\\[]", need)[0] for need in project["dependencies"]]
    shutil.copytree(ROOT / "leaderboards", tmp_path / "leaderboards")
    command = [sys.executable, "-c", ONLY_HARD_DEPENDENCIES + MAIN_JOB, *hard]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert all(extra in done.stdout for extra in ("'pyseccomp'", "'sklearn'", "'tensorboard'", "'transformers'"))
    assert "ppo/model.zip" in done.stdout


@pytest.mark.parametrize("name", ["envs", "agents", "studies"])
def test_bare_names_are_refused(name: str) -> None:
    done = python(f"import {name}", ROOT)
    assert done.returncode != 0
    assert f"kdgym.{name}" in done.stderr
