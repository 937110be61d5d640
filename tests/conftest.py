"""What every test shares: one thread, a cache of base students of its own, and reproducible hypothesis examples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

settings.register_profile("kdgym", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("kdgym")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor change the user's cache; pools of base students are built at most once a session."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDGYM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
