"""What is installed: one top-level name, every module, light to import, imports in one direction."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
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
    code = f"{packages}{snippet[1]}\nimport kdgym.agents; print(reward.shape, kdgym.agents.__file__)"
    # -S: without the packages of these tests, among which kdgym is installed already.
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=where, check=False)
    place = (site / "kdgym" if (site / "kdgym").is_dir() else clone) / "agents"
    assert done.stdout.split("\n")[0] == f"(64,) {place / '__init__.py'}", done.stderr


def test_importing_kdgym_is_light(tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "vllm", "matplotlib", "stable_baselines3", "scipy", "typer")
    done = python(f"import sys, kdgym; print([name for name in {heavy} if name in sys.modules])", tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", ["envs", "agents", "studies"])
def test_bare_names_are_refused(name: str) -> None:
    done = python(f"import {name}", ROOT)
    assert done.returncode != 0
    assert f"kdgym.{name}" in done.stderr
