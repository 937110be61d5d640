"""Which cases of a parametrised test belong into which tier; see the Makefile."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

# The fastest id of every family and student engine; tests/envs and tests/students check language models and Hopper.
FIRST_IDS = (
    "kdgym/DataGen-Math-v0",
    "kdgym/DataGen-Math-OpenEnded-v0",
    "kdgym/DataGen-Math-SkillTree-v0",
    "kdgym/Orchestrate-Incidents-v0",
    "kdgym/Classroom-Math-v0",
    "kdgym/Tutoring-Math-v0",
    "kdgym/Snapshot-CartPole-v0",
)


def tiered(values: Iterable[Any], first: Collection[Any] = FIRST_IDS) -> list[Any]:
    """Values for ``pytest.mark.parametrize``: `first` ones are for ``make test``, all others for ``make test-all``."""
    return [value if value in first else pytest.param(value, marks=pytest.mark.thorough) for value in values]
