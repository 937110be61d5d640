"""A step does not wander: it visits few files, so that a reader can follow it."""

from __future__ import annotations

import pytest

from tests.step_walk import MOST, files_of_a_step
from tests.tiers import tiered


@pytest.mark.parametrize("id", tiered(MOST))
def test_a_step_visits_few_files(id: str) -> None:
    files = files_of_a_step(id)
    assert "kdgym/core/population.py" in files
    assert len(files) <= MOST[id], files
