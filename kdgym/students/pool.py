"""Base students: short random mixtures of all skills, trained once, kept in the user's cache.

Two disjoint pools exist, ``train`` for learning how to teach and ``evaluation`` for scoring teachers. Every base student
differs: its own initial weights, its own mixture, its own amount of schooling. (Longer schooling on few skills would cost
it the plasticity that teaching needs.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from rich.progress import Progress
from torch import Tensor

from kdgym import random
from kdgym.storage import CorruptFileError, cache_directory, load_tensors, save_tensors
from kdgym.students.base import Students
from kdgym.students.kernel import Tables

POOLS = ("train", "evaluation")
POOL_SIZE = 128
_VERSION = 0
_CHUNK = 512
_log = logging.getLogger(__name__)
_loaded: dict[str, Tensor] = {}


@dataclass(frozen=True)
class Schooling:
    """What base students have learned before anybody teaches them: a random mixture of the task's items.

    Attributes:
        least, most: items a student learns; each student's own number lies between.
        contrast: a skill's share of a student's mixture is a uniform number to this power; 0 makes all shares equal.
    """

    least: int = 1024
    most: int = 4096
    contrast: float = 2.0

    def answers(self, students: Students, person: Tensor, key: Tensor, problem: Tensor) -> tuple[Tensor, Tables | None]:
        """What is learned as the answers to problems [S, N]: ids, and the tables they refer to if not the task's.

        Args:
            students: the engine.
            person: keys of the students' own traits, int64 [S].
            key: keys of these items' randomness, int64 [S].
            problem: int64 [S, N].
        """
        return students.task.solution.to(problem.device)[problem], None


MIXTURE = Schooling()


def base_students(students: Students, pool: str, recipe: dict[str, Any], schooling: Schooling | None = None) -> Tensor:
    """Weights of a pool's base students, [POOL_SIZE, students.weights].

    Built on first use (well under a minute on two cores), then read from the cache. Processes that need the same pool at
    once build it once.

    Args:
        students: the engine that trains them.
        pool: ``"train"`` or ``"evaluation"``.
        recipe: JSON-serialisable description of task, engine and schooling; another recipe is another file.
        schooling: what they learn; `MIXTURE` if left out.

    Raises:
        ValueError: there is no such pool.
    """
    if pool not in POOLS:
        raise ValueError(f"There is no pool of base students {pool!r}; choose from {', '.join(POOLS)}.")
    recipe = {"pool": pool, "size": POOL_SIZE, "version": _VERSION, "torch": torch.__version__, **recipe}
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    if name not in _loaded:
        _loaded[name] = _read_or_build(students, pool, recipe, name, schooling or MIXTURE)
    return _loaded[name].to(students.device, students.dtype)


def _read_or_build(students: Students, pool: str, recipe: dict[str, Any], name: str, schooling: Schooling) -> Tensor:
    path = cache_directory() / "students" / f"{students.task.name.lower()}-{pool}-{name}.safetensors"
    weights = _read(path)
    if weights is not None:
        return weights
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            weights = _read(path)  # another process may have built them while this one waited
            if weights is None:
                weights = _build(students, pool, schooling)
                save_tensors(path, {"weights": weights}, recipe)
    except OSError as error:
        warnings.warn(
            f"The cache {path.parent} cannot be written ({error}), so the base students are built anew in every process. "
            "Set KDGYM_CACHE to a directory you can write to.",
            RuntimeWarning,
            stacklevel=4,
        )
    return _build(students, pool, schooling) if weights is None else weights


def _read(path: Path) -> Tensor | None:
    """The pool in a file, or None where there is none; a damaged one is reported and will be replaced."""
    if not path.is_file():
        return None
    try:
        return load_tensors(path)[0]["weights"]
    except CorruptFileError as error:
        warnings.warn(f"{error} The base students are built again.", RuntimeWarning, stacklevel=5)
        return None


def _build(students: Students, pool: str, schooling: Schooling) -> Tensor:
    """Deterministic on one machine: one thread, one stream a student."""
    task, threads = students.task, torch.get_num_threads()
    key = random.fold(
        torch.tensor(POOLS.index(pool), device=students.device), torch.arange(POOL_SIZE, device=students.device)
    )
    share = random.uniform(random.fold(key, 1), len(task.skills)).pow(schooling.contrast)
    spread = schooling.most - schooling.least
    length = schooling.least + random.integers(random.fold(key, 2), 1, spread).squeeze(1)
    state = students.initialise(random.fold(key, 3))
    skills = task.pool("train")
    torch.set_num_threads(1)
    try:
        with Progress(transient=True) as progress:
            bar = progress.add_task(f"Schooling {POOL_SIZE} base students ({pool}), once", total=schooling.most)
            for begin in range(0, schooling.most, _CHUNK):
                step = random.fold(key, 4, begin)
                place = random.uniform(random.fold(step, 0), _CHUNK) * share.sum(1, keepdim=True)
                skill = torch.searchsorted(share.cumsum(1), place, right=True).clamp_max(len(task.skills) - 1)
                index = random.integers(random.fold(step, 1), _CHUNK, skills.count.to(key.device)[skill])
                problem = skills.start.to(key.device)[skill] + index
                answer, tables = schooling.answers(students, random.fold(key, 5), random.fold(step, 2), problem)
                students.train(state, problem, answer, (length - begin).clamp(0, _CHUNK), tables)
                progress.advance(bar, _CHUNK)
    finally:
        torch.set_num_threads(threads)
    _log.info("built %d base students (%s)", POOL_SIZE, pool)
    return state[:, : students.weights].cpu().clone()
