"""What every test shares: one thread, a cache of base students, Ray workers that work, and reproducible hypothesis examples."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import settings

PROGRAMS = {
    "bubblewrap": ("bwrap",),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
}  # Debian's packages

# With a new cache thousands of programs or data sets are run first, or many students pretrained.
LONG_TO_MAKE = ("Code", "Reasoning", "DataGen-VQA-v0", "Feedback-Math", "Orchestrate-Math", "Tutoring-Math")
LATER = ("kdgym/DataGen-Code", "kdgym/DataGen-Reasoning", "kdgym/Orchestrate-Math")

settings.register_profile("kdgym", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("fuzz", deadline=None, max_examples=int(os.environ.get("FUZZ_EXAMPLES", "1000")))  # make fuzz
settings.load_profile("kdgym")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor change the user's cache; pools of base students are built at most once a run.

    Workers of one run (pytest-xdist) share the cache, as a user's processes do; ``KDGYM_TEST_CACHE`` names one for several
    runs.
    """
    torch.set_num_threads(1)
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDGYM_CACHE", os.environ.get("KDGYM_TEST_CACHE") or str(shared / "kdgym-cache"))
        # Ray's own choice is 15: beside the other tests its workers took four times as long to start.
        patch.setenv("RAY_worker_niceness", "0")
        yield


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """``with full_disk(n):`` every file ends after n bytes; what is written behind that fails, in the middle of a write."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def processes() -> Callable[[], set[int]]:
    """Finds the processes that this one has started (zombies aside)."""
    if sys.platform != "linux":
        pytest.skip("finds processes in /proc")
    return _processes


def _processes() -> set[int]:
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(") ")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(status.parent.name))
    return found


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that is slow as a whole need not even be imported for ``make test-fast``."""
    if collection_path.suffix == ".py" and "not slow" in config.option.markexpr:
        return True if "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() else None
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a task that takes long to make are not in ``make test-fast``; those of its ids are not in ``make test``."""
    for item in items:
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        texts = [value for value in given if isinstance(value, str)]
        if any(name in text for text in texts for name in LONG_TO_MAKE):
            item.add_marker(pytest.mark.slow)
        if any(text.startswith(LATER) for text in texts):
            item.add_marker(pytest.mark.thorough)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say at the end, in one line, what to install for the tests that were skipped for want of a program."""
    yield
    skipped = [str(report.longrepr).lower() for report in terminalreporter.stats.get("skipped", [])]
    missing = [name for name, programs in PROGRAMS.items() if not any(map(shutil.which, programs))]
    number = sum(any(name in reason for name in missing) for reason in skipped)
    if number:
        terminalreporter.write_line(f"{number} tests were skipped; to run them: apt-get install {' '.join(missing)}")


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let environments live on torch's meta device, whose tensors have no content, and which users are refused."""
    for module in ("kdgym.students", "kdgym.envs.snapshot.snapshot", "kdgym.envs.orchestrate.orchestrate"):
        monkeypatch.setattr(f"{module}.check_device", torch.device)
