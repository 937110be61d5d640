"""The items of reasoning-gym's datasets, made once, kept in the user's cache as text and as tokens.

A pool's name is a hash of everything its content depends on: reasoning-gym's version, dataset, settings, number of items and
our version of how they are made.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias

import torch
from torch import Tensor

from kdgym.console import progress_bar
from kdgym.storage import cache_directory, load_or_build
from kdgym.tasks.reasoning.answers import OPEN
from kdgym.tasks.spelling import MOST_TOKENS, Spelled, spell

Worker: TypeAlias = tuple[subprocess.Popen[str], IO[str]]  # a process, and what it says of its errors
_VERSION, _FORMAT = 0, 1  # of what is made, and of the file


def library_version() -> str:
    """The version of reasoning-gym.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.metadata.version("reasoning-gym")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError("The task Reasoning needs the package reasoning-gym: pip install 'kdgym[envs]'.") from None


@dataclass(frozen=True)
class Wanted:
    """A pool: up to ``items`` different problems of ``dataset`` under ``settings``."""

    dataset: str
    settings: dict[str, Any]
    items: int

    @property
    def recipe(self) -> dict[str, Any]:
        made_of = {"version": _VERSION, "library": library_version(), "most_tokens": MOST_TOKENS, "format": _FORMAT}
        return {**asdict(self), **made_of}

    @property
    def job(self) -> dict[str, Any]:
        """What the worker is told. Every dataset has a seed of its own; item i of seed s is item 0 of seed s + i."""
        digest = hashlib.sha256(f"kdgym {_VERSION} {self.dataset}".encode()).digest()
        return {**asdict(self), "seed": int.from_bytes(digest[:4], "big") >> 1}

    @property
    def path(self) -> Path:
        name = hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()[:16]
        return cache_directory() / "reasoning" / f"{self.dataset}-{name}.safetensors"


@dataclass(frozen=True)
class Items(Spelled):
    """The items of a pool, n of them.

    Attributes:
        description: of the dataset, in a sentence.
        metadata: JSON that scorers want; empty for datasets that have one right answer a problem.
        attribute_names: what makes an item difficult.
        attributes: how much of it every item has, float64 [n, F].
    """

    description: str
    metadata: list[str]
    attribute_names: list[str]
    attributes: Tensor


def load_items(pools: list[Wanted]) -> list[Items]:
    """The items of every pool; those not in the cache are made, once for all processes, with a progress bar.

    Raises:
        ImportError: reasoning-gym is not installed.
        ValueError: reasoning-gym refuses a dataset or its settings.
    """
    with ExitStack() as stack:
        worker = cache(lambda: stack.enter_context(_worker()))  # one for all that is missing: its start takes a second
        return [_load(pool, worker) for pool in pools]


def _load(pool: Wanted, worker: Callable[[], Worker]) -> Items:
    tensors = load_or_build(pool.path, pool.recipe, lambda: _make(pool, worker()), f"items of {pool.dataset}")
    fields: dict[str, Any] = {**json.loads(tensors.pop("text").numpy().tobytes()), **tensors}
    return Items(**fields)


@contextmanager
def _worker() -> Iterator[Worker]:
    """A process of its own that makes items; see `kdgym.tasks.reasoning.worker` for why."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py"))]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", env=environment
        )
        try:
            yield worker, errors
        finally:
            worker.kill()
            worker.communicate()


def _make(pool: Wanted, worker: Worker) -> dict[str, Tensor]:
    """Have a worker make a pool's items.

    Returns:
        The tensors of `Items`, and all else as JSON, uint8.
    """
    process, errors = worker
    assert process.stdin is not None and process.stdout is not None
    rows: list[dict[str, Any]] = []
    with suppress(BrokenPipeError):  # it died, and has no last line
        process.stdin.write(json.dumps(pool.job) + "\n")
        process.stdin.flush()
    with progress_bar() as progress:
        bar = progress.add_task(f"Making items of {pool.dataset}, once", total=pool.items)
        for line in process.stdout:
            rows.append(json.loads(line))
            if "problem" not in rows[-1]:
                break
            progress.advance(bar)
    outcome = rows.pop() if rows else {}
    if "error" in outcome:
        raise ValueError(f"reasoning-gym refuses {pool.dataset!r} with {pool.settings}: {outcome['error']}")
    if "description" not in outcome:
        errors.seek(0)
        raise RuntimeError(f"The process that makes items of {pool.dataset} died:\n{errors.read()[-2000:]}")
    items = vars(_assemble(pool, rows, outcome["description"]))
    tensors = {name: items.pop(name) for name in ("attributes", "prompt")}
    return {**tensors, "text": torch.frombuffer(bytearray(json.dumps(items).encode()), dtype=torch.uint8)}


def _assemble(pool: Wanted, rows: list[dict[str, Any]], description: str) -> Items:
    if not rows:
        raise ValueError(f"reasoning-gym makes no items of {pool.dataset} with {pool.settings}.")
    names = [name for name in rows[0]["attributes"] if all(name in row["attributes"] for row in rows)]
    return Items(
        **vars(spell([row["problem"] for row in rows], [row["answer"] for row in rows])),
        description=description,
        metadata=[json.dumps(row["metadata"]) for row in rows] if pool.dataset in OPEN else [],
        attribute_names=names,
        attributes=torch.tensor([[row["attributes"][name] for name in names] for row in rows], dtype=torch.float64),
    )
