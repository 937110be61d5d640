"""The site: built without a warning, with links that lead somewhere, no other host, and a page for everything."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from kdgym.catalogue import agent_names
from kdgym.registration import ENVIRONMENTS

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOOKED_AT = (
    "",
    "concepts/",
    "environments/datagen-math-v0/",
    "boards/",
    "tutorials/look-ahead/",
    "reference/kdgym.core/",
)
problems: Callable[[Path], list[str]] = runpy.run_path(str(ROOT / "docs" / "site" / "check_links.py"))["problems"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def words(page: Path) -> str:
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


@pytest.mark.thorough
def test_links_lead_somewhere_and_nothing_comes_from_other_hosts(site: Path) -> None:
    assert problems(site) == []


@pytest.mark.thorough
def test_every_id_has_a_page_with_its_numbers(site: Path) -> None:
    board = json.loads((ROOT / "docs" / "room.json").read_text())[0]
    page = words(site / "environments" / board["env_id"].partition("/")[2].lower() / "index.html")
    assert f"{board['rows']['rule']['mean']:.3f}" in page and board["rows"]["rule"]["teachers"][0] in page
    for entry in ENVIRONMENTS:
        page = words(site / "environments" / entry.id.partition("/")[2].lower() / "index.html")
        assert ("no longer count" if entry.closed else "Action Space") in page, entry.id


@pytest.mark.thorough
def test_every_teacher_is_in_the_gallery(site: Path) -> None:
    gallery = (site / "teachers" / "index.html").read_text()
    assert [name for name in agent_names() if f'id="{name}"' not in gallery] == []


@pytest.mark.thorough
def test_notebooks_are_those_of_the_tutorials(site: Path) -> None:
    for tutorial in sorted((ROOT / "docs" / "tutorials").glob("*.md")):
        notebook = json.loads((site / "tutorials" / f"{tutorial.stem}.ipynb").read_text())
        code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert code[0].startswith("import ") and len(code) == tutorial.read_text().count("```python")


@pytest.mark.thorough
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing(site: Path, width: int, scheme: str) -> None:
    """Pages as a browser shows them, which asks for nothing but files of the site."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in LOOKED_AT:
            page.goto((site / name / "index.html").as_uri(), wait_until="load")
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            assert Axe().run(page).violations_count == 0, name
        browser.close()
    assert [url for url in asked if not url.startswith("file:")] == []


def test_bad_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "two.html").write_text('<p id="here">')
    (tmp_path / "one.html").write_text(
        '<a href="two.html#here">good</a><a href="https://example.org">good</a><a href="two.html#there">bad</a>'
        '<a href="three.html">bad</a><img src="https://example.org/a.png"><link rel="stylesheet" href="//example.org/a.css">'
    )
    (tmp_path / "sheet.css").write_text("@import 'https://example.org/b.css'; a { background: url(data:x) }")
    found = "\n".join(problems(tmp_path))
    assert len(found.splitlines()) == 5
    assert all(
        name in found
        for name in ("two.html#there", "three.html", "a.png", "one.html loads //example.org/a.css", "b.css")
    )
