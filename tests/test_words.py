"""Documentation and docstrings keep to plain words: one word a thing, the field's own, and no riddles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentencex import segment
from typer.main import get_command

from kdgym.cli import app

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
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


def sentences(text: str) -> list[tuple[int, str]]:
    """How many words every sentence has, without code blocks, tables, headings and pictures; a code span counts as a word."""
    text = re.sub(r"```.*?```|<[^>]*>", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:#|\||!\[).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))
    parts = re.split(r"\n\s*\n|^\s*(?:\*|\d+\.) ", text.replace("**", ""), flags=re.MULTILINE)
    found = [s.strip() for part in parts for s in segment("en", " ".join(part.split()))]
    return [(len(re.findall(r"[^\W_]\S*", s)), s) for s in found if len(s.split()) > 2]


def average(text: str) -> float:
    lengths = [words for words, _ in sentences(text)]
    return sum(lengths) / len(lengths)


def helps(command: Any) -> Iterator[str]:
    """What ``--help`` says of a command, its options, and all commands below it; a text a paragraph."""
    yield from (text for text in (command.help, *(getattr(p, "help", "") for p in command.params)) if text)
    for below in getattr(command, "commands", {}).values():
        yield from helps(below)


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


def test_sentences_of_the_readme_are_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert average(text) <= 20
    assert [sentence for sentence in sentences(text) if sentence[0] > 25] == []


def test_the_readme_is_short() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 140
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) <= 700
    assert max(table.count("\n") for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)) <= 8 + 2


def test_sentences_of_help_are_short() -> None:
    texts = list(dict.fromkeys(helps(get_command(app))))
    assert len(texts) > 50
    assert average("\n\n".join(texts)) <= 20
    assert [sentence for sentence in sentences("\n\n".join(texts)) if sentence[0] > 25] == []


@pytest.mark.parametrize("folder", LIBRARY)
def test_modules_open_with_a_short_sentence(folder: str) -> None:
    """Papers in brackets do not count."""
    first = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        said = sentences(re.sub(r"\s*\([^)]*\)", "", docstring.partition("\n\n")[0]))
        first[str(file.relative_to(ROOT))] = said[0] if said else (0, docstring)
    assert {
        name: text for name, (words, text) in first.items() if words > 25 or not text.endswith((".", "?", ":"))
    } == {}


def test_sentences_are_counted() -> None:
    text = "# A heading\n\nRun `kdgym list ID` in mine.py, with 0.5 of it. Then [look there](docs/x.md).\n\n* One more thing"
    assert [words for words, _ in sentences(text)] == [8, 3, 3]
