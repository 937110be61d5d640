"""Tutorials run from top to bottom, and print what stands below their code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import pytest

TUTORIALS = sorted((Path(__file__).parent.parent / "docs" / "tutorials").glob("*.md"))
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def cells(page: str) -> Iterator[tuple[str, str]]:
    """Code, and the output that stands below it; empty where there is none."""
    yield from re.findall(r"```python\n(.*?)```(?:\n+```text\n(.*?)```)?", page, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.stem)
def test_tutorials_print_what_they_show(tutorial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words to the letter. Numbers of learning to a tenth or so, as rounding depends on the processor."""
    names: dict[str, Any] = {}
    for code, shown in cells(tutorial.read_text(encoding="utf-8")):
        exec(code, names)
        printed = capsys.readouterr().out
        assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
        assert [float(n) for n in NUMBER.findall(printed)] == pytest.approx(
            [float(n) for n in NUMBER.findall(shown)], rel=0.15, abs=0.05
        )


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.stem)
def test_tutorials_are_notebooks(tutorial: Path) -> None:
    """Each code block is a cell, and what stands between is text."""
    notebook = jupytext.read(tutorial)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [block.strip() for block, _ in cells(tutorial.read_text(encoding="utf-8"))]
