"""The items of reasoning-gym's datasets, made once, kept in the user's cache as text and as tokens.

A pool's name is a hash of everything its content depends on: reasoning-gym's version, dataset, settings, number of items and
our version of how they are made.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import torch
from filelock import FileLock
from rich.progress import Progress
from torch import Tensor

from kdgym.storage import CorruptFileError, cache_directory, load_tensors, save_tensors
from kdgym.tasks.reasoning.answers import OPEN
from kdgym.tasks.reasoning.spelling import PADDING, Tokens, common_parts, spell_answer, spell_problems

MOST_TOKENS = {"problem": 32, "answer": 12}  # that a tiny student reads and writes
_VERSION = 0
_log = logging.getLogger(__name__)


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
        return {**asdict(self), "version": _VERSION, "library": library_version(), "most_tokens": MOST_TOKENS}

    @property
    def seed(self) -> int:
        """Seeds that do not overlap: datasets give item i of seed s what they give item 0 of seed s + i."""
        return int.from_bytes(hashlib.sha256(f"kdgym {_VERSION} {self.dataset}".encode()).digest()[:4], "big") >> 1

    @property
    def path(self) -> Path:
        name = hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()[:16]
        return cache_directory() / "reasoning" / f"{self.dataset}-{name}.safetensors"


@dataclass(frozen=True)
class Items:
    """The items of a pool, n of them.

    Attributes:
        description: of the dataset, in a sentence.
        problems, answers: texts.
        metadata: JSON that scorers want; empty for datasets that have one right answer a problem.
        attribute_names: what makes an item difficult.
        attributes: how much of it every item has, float64 [n, F].
        lengths: tokens of the longest problem and of the longest answer.
        tokens: names of the tokens of problems, by id; 0 is padding.
        prompt: int16 [n, T], padded in front; T = 0 where problems are too long for a tiny student.
        common: what many answers have between digits.
    """

    description: str
    problems: list[str]
    answers: list[str]
    metadata: list[str]
    attribute_names: list[str]
    attributes: Tensor
    lengths: dict[str, int]
    tokens: list[str]
    prompt: Tensor
    common: list[str]


def load_items(wanted: list[Wanted]) -> list[Items]:
    """The items of every pool; those not in the cache are made, once for all processes, with a progress bar.

    Raises:
        ImportError: reasoning-gym is not installed.
        ValueError: reasoning-gym refuses a dataset or its settings.
    """
    found = [_read(pool.path) for pool in wanted]
    if None not in found:
        return [items for items in found if items is not None]
    with _building() as writable:
        found = [_read(pool.path) for pool in wanted]  # another process may have made them while this one waited
        missing = [pool for pool, items in zip(wanted, found, strict=True) if items is None]
        made = []
        for pool, items in zip(missing, _make(missing), strict=True):
            made.append(items)
            if writable:
                _write(pool, items)
    new = iter(made)
    return [next(new) if items is None else items for items in found]


# --- on disk -----------------------------------------------------------------------------------------------------


@contextmanager
def _building() -> Iterator[bool]:
    """Be the only process that makes items; whether they can be kept."""
    folder = cache_directory() / "reasoning"
    lock = FileLock(folder / "building.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        warnings.warn(
            f"The cache {folder} cannot be written ({error}), so items are made anew in every process. "
            "Set KDGYM_CACHE to a directory you can write to.",
            RuntimeWarning,
            stacklevel=6,
        )
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _write(pool: Wanted, items: Items) -> None:
    text = {name: getattr(items, name) for name in ("problems", "answers", "metadata")}
    tensors = {name: getattr(items, name) for name in ("attributes", "prompt")}
    tensors["text"] = torch.frombuffer(bytearray(json.dumps(text).encode()), dtype=torch.uint8)
    header = {name: getattr(items, name) for name in ("description", "attribute_names", "lengths", "tokens", "common")}
    save_tensors(pool.path, tensors, {"recipe": pool.recipe, "items": header})


def _read(path: Path) -> Items | None:
    """The pool in a file, or None where there is none; a damaged one is reported and will be replaced."""
    if not path.is_file():
        return None
    try:
        tensors, header = load_tensors(path)
    except CorruptFileError as error:
        warnings.warn(f"{error} Its items are made again.", RuntimeWarning, stacklevel=5)
        return None
    fields: dict[str, Any] = {**json.loads(tensors.pop("text").numpy().tobytes()), **tensors, **header["items"]}
    return Items(**fields)


# --- making ------------------------------------------------------------------------------------------------------


def _make(pools: list[Wanted]) -> Iterator[Items]:
    """Have a process of its own make the items, pool by pool; see `kdgym.tasks.reasoning.worker` for why."""
    if not pools:
        return
    jobs = [{**asdict(pool), "seed": pool.seed} for pool in pools]
    command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), json.dumps(jobs)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryFile("w+") as errors, Progress(transient=True) as progress:
        bar = progress.add_task("Making items, once", total=sum(pool.items for pool in pools))
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", env=environment
        ) as worker:
            assert worker.stdout is not None
            for place, pool in enumerate(pools):
                progress.update(bar, description=f"Making items of {pool.dataset}, once")
                rows, outcome = _receive(worker.stdout, lambda: progress.advance(bar))
                if "error" in outcome:
                    worker.kill()
                    raise ValueError(f"reasoning-gym refuses {pool.dataset!r} with {pool.settings}: {outcome['error']}")
                if "done" not in outcome:
                    worker.wait()
                    errors.seek(0)
                    raise RuntimeError(f"The process that makes items of {pool.dataset} died:\n{errors.read()[-2000:]}")
                yield _assemble(pool, rows, outcome["description"])
                progress.update(bar, completed=sum(done.items for done in pools[: place + 1]))
    _log.info("made items of %s", ", ".join(pool.dataset for pool in pools))


def _receive(lines: IO[str], advance: Callable[[], None]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The items of a job, and its last line; an empty one if there is none."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        row = json.loads(line)
        if "problem" not in row:
            return rows, row
        rows.append(row)
        advance()
    return rows, {}


def _assemble(pool: Wanted, rows: list[dict[str, Any]], description: str) -> Items:
    if not rows:
        raise ValueError(f"reasoning-gym makes no items of {pool.dataset} with {pool.settings}.")
    problems, answers = [row["problem"] for row in rows], [row["answer"] for row in rows]
    names = [name for name in rows[0]["attributes"] if all(name in row["attributes"] for row in rows)]
    spelled, common = spell_problems(problems), common_parts(answers)
    length = max(map(len, spelled))
    lengths = {"problem": length, "answer": max(len(spell_answer(answer, common)) for answer in answers)}
    fits = length <= MOST_TOKENS["problem"]
    tokens = [PADDING, *sorted(set(chain.from_iterable(spelled)) - {PADDING})] if fits else []
    return Items(
        description=description,
        problems=problems,
        answers=answers,
        metadata=[json.dumps(row["metadata"]) for row in rows] if pool.dataset in OPEN else [],
        attribute_names=names,
        attributes=torch.tensor([[row["attributes"][name] for name in names] for row in rows], dtype=torch.float64),
        lengths=lengths,
        tokens=tokens,
        prompt=_encode(spelled, tokens, length) if fits else torch.zeros(len(rows), 0, dtype=torch.int16),
        common=sorted(common),
    )


def _encode(texts: list[Tokens], tokens: list[str], width: int) -> Tensor:
    """Token ids, padded in front: int16 [n, width]."""
    number = {token: i for i, token in enumerate(tokens)}
    return torch.tensor([[0] * (width - len(text)) + [number[t] for t in text] for text in texts], dtype=torch.int16)
