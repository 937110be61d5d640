"""The lines of docs/integrations.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest


def test_what_the_page_says_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, names)
    assert (tmp_path / "crossq.zip").is_file()
