"""Boards of three students, so that a record takes a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import kdgym.registration


@pytest.fixture(scope="module", autouse=True)
def small_boards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        entries = tuple(replace(entry, episodes=3) for entry in kdgym.registration.ENVIRONMENTS)
        patch.setattr(kdgym.registration, "ENVIRONMENTS", entries)
        yield
