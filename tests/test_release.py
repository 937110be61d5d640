"""What a release consists of says the same everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml
from safetensors import safe_open

import kdgym

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
TEXTS = [*PAGES, *ROOT.glob("*.cff"), *ROOT.glob("*.toml"), *ROOT.glob("kdgym/**/*.py"), *ROOT.glob(".build/*.py")]


def test_the_changelog_opens_with_this_version_and_its_date() -> None:
    first = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0]
    assert re.fullmatch(rf"{re.escape(kdgym.__version__)} \(\d{{4}}-\d\d-\d\d\)", first)


def test_the_version_stands_in_one_place() -> None:
    number = re.compile(rf"(?<![\d.]){re.escape(kdgym.__version__)}(?![\d.])")
    found = {str(p.relative_to(ROOT)) for p in TEXTS if p.suffix != ".png" and number.search(p.read_text())}
    assert found == {"kdgym/__init__.py", "CHANGELOG.md"}


def test_a_saved_student_does_not_depend_on_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    for version in (kdgym.__version__, "9.9.9"):
        monkeypatch.setattr(kdgym, "__version__", version)
        env: Any = gym.make("kdgym/DataGen-Math-v0").unwrapped
        env.reset(seed=0)
        env.snapshot().save(tmp_path / f"{version}.safetensors")
        with safe_open(tmp_path / f"{version}.safetensors", "np") as file:
            saved.append((file.metadata(), {name: file.get_tensor(name).tobytes() for name in file.keys()}))  # noqa: SIM118
    assert saved[0] == saved[1]


def test_one_line_sets_the_address_of_the_project() -> None:
    """The command of CONTRIBUTING.md replaces one address, so all others begin with it."""
    base = PROJECT["urls"]["Repository"]
    host = re.escape(base.rpartition("/")[0])
    found = [url for path in TEXTS for url in re.findall(rf"{host}[^\s\"')]*", path.read_text())]
    assert {*PROJECT["urls"].values(), CITATION["repository-code"]} < set(found)
    assert [url for url in found if not url.startswith(base)] == []


def test_the_citation_is_that_of_the_project() -> None:
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["title"].startswith(PROJECT["name"])
    assert all(author.get("name") or author.get("family-names") for author in CITATION["authors"])
    assert "version" not in CITATION  # it stands in one place
