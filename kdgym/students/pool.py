"""Base students: short random mixtures of all skills, trained once, kept in the user's cache.

Two disjoint pools exist, ``train`` for learning how to teach and ``evaluation`` for scoring teachers. Every base student
differs: its own initial weights, its own mixture, its own amount of schooling. (Longer schooling on few skills would cost
it the plasticity that teaching needs.)
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

from kdgym import random
from kdgym.storage import cache_directory, load_or_build
from kdgym.students.base import Students
from kdgym.tasks.base import Task
from kdgym.tasks.examination import draw_practice

POOLS = ("train", "evaluation")
POOL_SIZE = 128
_VERSION = 0
_LEAST, _MOST = 1024, 4096  # items of schooling
_CHUNK = 512
_log = logging.getLogger(__name__)
_loaded: dict[str, Tensor] = {}


def base_students(students: Students, pool: str, recipe: dict[str, Any]) -> Tensor:
    """Weights of a pool's base students, [POOL_SIZE, students.weights].

    Built on first use (well under a minute on two cores), then read from the cache. Processes that need the same pool at
    once build it once.

    Args:
        students: the engine that trains them.
        pool: ``"train"`` or ``"evaluation"``.
        recipe: JSON-serialisable description of task and engine; another recipe is another file.

    Raises:
        ValueError: there is no such pool.
    """
    if pool not in POOLS:
        raise ValueError(f"There is no pool of base students {pool!r}; choose from {', '.join(POOLS)}.")
    return keep(students, pool, recipe, lambda: _build(students, pool))


def keep(students: Students, pool: str, recipe: dict[str, Any], build: Callable[[], Tensor]) -> Tensor:
    """A pool's weights from the cache, or else from ``build``, once; see `base_students`."""
    recipe = {"pool": pool, "size": POOL_SIZE, "version": _VERSION, "torch": torch.__version__, **recipe}
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    if name not in _loaded:
        path = cache_directory() / "students" / f"{students.task.name.lower()}-{pool}-{name}.safetensors"
        _loaded[name] = load_or_build(path, recipe, lambda: {"weights": build()}, "base students")["weights"]
    return _loaded[name].to(students.device, students.dtype)


def _build(students: Students, pool: str) -> Tensor:
    """Deterministic on one machine: one thread, one stream a student."""
    task = students.task
    key = student_keys(pool, students.device)
    share = draw_mixtures(key, len(task.skills))
    schooling = _LEAST + random.integers(random.fold(key, 2), 1, _MOST - _LEAST).squeeze(1)
    state = students.initialise(random.fold(key, 3))
    solution = task.solution.to(students.device)

    def learn(problem: Tensor, begin: int) -> None:
        students.train(state, problem, solution[problem], (schooling - begin).clamp(0, _CHUNK))

    school(task, random.fold(key, 4), share, _MOST, learn, f"Schooling {POOL_SIZE} base students ({pool}), once")
    _log.info("built %d base students (%s)", POOL_SIZE, pool)
    return state[:, : students.weights].cpu().clone()


def student_keys(pool: str, device: torch.device) -> Tensor:
    """Key of every base student's random streams, int64 [POOL_SIZE]."""
    return random.fold(torch.tensor(POOLS.index(pool), device=device), torch.arange(POOL_SIZE, device=device))


def draw_mixtures(key: Tensor, skills: int) -> Tensor:
    """How much of each skill every base student is schooled in, float64 [POOL_SIZE, K]."""
    return random.uniform(random.fold(key, 1), skills).pow(2)


def school(
    task: Task, key: Tensor, share: Tensor, items: int, learn: Callable[[Tensor, int], None], title: str
) -> None:
    """Draw ``items`` train problems a student, by ``share`` [S, K] of the skills, and have them learned on one thread.

    ``learn`` gets problem ids int64 [S, N] and how many came before.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Progress(transient=True) as progress:
            bar = progress.add_task(title, total=items)
            for begin in range(0, items, _CHUNK):
                learn(draw_practice(task, random.fold(key, begin), share, _CHUNK), begin)
                progress.advance(bar, _CHUNK)
    finally:
        torch.set_num_threads(threads)
