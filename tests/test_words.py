"""Documentation and docstrings keep to plain words: one word a thing, the field's own, and no riddles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LIBRARY = ("kdgym", "envs", "agents", "studies")
# Phrase -> what to write in its place.
BANNED = {
    r"nobody|everybody|whoever": "no student, all students, a teacher that",
    r"school(ed|ing)?": "pretrain, pretrained, pretraining",
    r"luck": "random streams, chance",
    r"told (apart )?from": "distinguished from",
    r"as it were|the same, but": "say it plainly",
    r"there to win": "how much a teacher can gain",
    r"jail|inmate|doorway": "sandbox, agent worker, LLM proxy",
    r"teacher-models?": "supervisor",
}
IN_PAGES = {
    r"lessons?": "episode, training step, items"
}  # in code it is what a teacher wrote, or the data of a picture


def opening(path: Path) -> Iterator[str]:
    """The first paragraph of every docstring of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield (ast.get_docstring(node) or "").partition("\n\n")[0]


def prose(page: Path) -> str:
    """A page without code."""
    return re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def banned(text: str, words: dict[str, str]) -> list[str]:
    """What to change in a text, whose lines may break anywhere."""
    text = " ".join(text.split())
    return [
        f"{found.group()!r} in {text[max(0, found.start() - 30) : found.end() + 30]!r}: write {instead}"
        for pattern, instead in words.items()
        for found in re.finditer(rf"\b(?:{pattern})\b", text, flags=re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page: Path) -> None:
    assert banned(prose(page), BANNED | IN_PAGES) == []


@pytest.mark.parametrize("folder", LIBRARY)
def test_docstrings_open_plainly(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    assert {str(f): found for f in files if (found := [w for text in opening(f) for w in banned(text, BANNED)])} == {}


def test_banned_words_are_found() -> None:
    assert len(banned("Nobody is told\nfrom the students; schooled, whoever they are.", BANNED)) == 4
    assert banned("Old scholars collaborate; the pretrained ones' luckless `jailed` tests.", BANNED) == []
