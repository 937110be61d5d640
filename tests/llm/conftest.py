"""The server that tests of language models ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.llm.endpoint import KEY, FakeEndpoint, serving


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    """A server, and its key where kdgym looks for it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving() as server:
        yield server
