"""The tables of docs/performance.md are those of the last run of `recipes.py`."""

from __future__ import annotations

import json
from pathlib import Path

from kdgym.evaluation.report import with_tables
from tests.benchmarks import recipes

FOLDER = Path(recipes.__file__).parent


def test_the_page_has_the_tables_of_the_last_run() -> None:
    page = (FOLDER.parent.parent / "docs/performance.md").read_text()
    assert with_tables(page, recipes.tables(json.loads((FOLDER / "recipes.json").read_text()))) == page
