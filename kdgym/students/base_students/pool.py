"""Base students: short random mixtures of all skills, trained once, kept in the user's cache.

Two disjoint pools exist, ``train`` for learning how to teach and ``evaluation`` for scoring teachers. Every base student
differs: its own initial weights, its own mixture, its own amount of pretraining. (Longer pretraining on few skills would cost
it the plasticity that teaching needs.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdgym import random
from kdgym.console import progress_bar
from kdgym.storage import cache_directory, load_or_build
from kdgym.students.base import Batch, Students
from kdgym.tasks.base import Task
from kdgym.tasks.examination import draw_practice

POOLS = ("train", "evaluation")
POOL_SIZE = 128
_VERSION = 0
_LEAST, _MOST = 1024, 4096  # items of pretraining
_CHUNK = 512  # items drawn at once for each student
_COHORT = 8  # base students of a file; who needs two of a pool waits for few others
_loaded: dict[tuple[str, int], Tensor] = {}


@dataclass(frozen=True)
class Cohort:
    """Base students that are pretrained together, because one of them is needed.

    Attributes:
        pool: whose they are.
        number: int64 [n], which of the pool's they are.
    """

    pool: str
    number: Tensor

    @property
    def key(self) -> Tensor:
        """Of everyone's random streams, int64 [n]."""
        return random.fold(torch.tensor(POOLS.index(self.pool), device=self.number.device), self.number)

    def __str__(self) -> str:
        first, last = int(self.number[0]) + 1, int(self.number[-1]) + 1
        return f"base students {first} to {last} of {POOL_SIZE} ({self.pool})"


def draw_numbers(key: Tensor) -> Tensor:
    """Which base student everyone starts as: keys int64 [S] -> numbers int64 [S]."""
    return random.integers(key, 1, POOL_SIZE).squeeze(1)


def everybody(pool: str, device: torch.device) -> Cohort:
    """The whole pool."""
    return Cohort(pool, torch.arange(POOL_SIZE, device=device))


def base_students(students: Students, pool: str, recipe: dict[str, Any], number: Tensor) -> Tensor:
    """Weights of some of a pool's base students, [n, students.weights].

    Pretrained on first use, then read from the cache. Processes that need the same ones at once pretrain them once.

    Args:
        students: the engine that trains them.
        pool: ``"train"`` or ``"evaluation"``.
        recipe: JSON-serialisable description of task and engine; another recipe is another pool.
        number: which ones, int64 [n] below `POOL_SIZE`.

    Raises:
        ValueError: there is no such pool.
    """
    return keep(students, pool, recipe, number, lambda cohort: _build(students, cohort))


def keep(
    students: Students, pool: str, recipe: dict[str, Any], number: Tensor, build: Callable[[Cohort], Tensor]
) -> Tensor:
    """Weights of some of a pool's students from the cache, or else from ``build``, a cohort at a time; see `base_students`.

    ``build`` makes states of the engine, [n, students.row], of which the weights are kept.
    """
    if pool not in POOLS:
        raise ValueError(f"There is no pool of base students {pool!r}; choose from {', '.join(POOLS)}.")
    recipe = {"pool": pool, "size": POOL_SIZE, "version": _VERSION, "torch": torch.__version__, **recipe}
    name = f"{students.task.name.lower()}-{pool}-{hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]}"
    cohorts, which = torch.unique(number // _COHORT, return_inverse=True)

    def weights(cohort: int) -> Tensor:
        if (name, cohort) not in _loaded:
            path = cache_directory() / "students" / f"{name}-{cohort}.safetensors"
            members = torch.arange(cohort * _COHORT, min((cohort + 1) * _COHORT, POOL_SIZE), device=students.device)

            def pretrained() -> dict[str, Tensor]:
                return {"weights": build(Cohort(pool, members))[:, : students.weights].cpu().clone()}

            def fits(found: dict[str, Tensor]) -> bool:
                kept, shape = found.get("weights"), (len(members), students.weights)
                if kept is None or len(found) > 1 or kept.shape != shape or kept.dtype != students.dtype:
                    return False
                return bool(kept.isfinite().all())

            _loaded[name, cohort] = load_or_build(path, recipe, pretrained, "base students", fits)["weights"]
        return _loaded[name, cohort]

    together = torch.cat([weights(cohort) for cohort in cohorts.tolist()])
    return together.to(students.device, students.dtype)[which * _COHORT + number % _COHORT]


def _build(students: Students, cohort: Cohort) -> Tensor:
    """Deterministic on one machine: one thread, one stream a student."""
    task, key = students.task, cohort.key
    share = draw_mixtures(key, len(task.skills))
    pretraining = _LEAST + random.integers(random.fold(key, 2), 1, _MOST - _LEAST).squeeze(1)
    state = students.initialise(random.fold(key, 3))
    solution = task.solution.to(students.device)

    def learn(problem: Tensor, begin: int) -> None:
        students.train(state, Batch(problem, solution[problem], (pretraining - begin).clamp(0, _CHUNK)))

    pretrain(task, random.fold(key, 4), share, _MOST, learn, f"Pretraining {cohort}, once")
    return state


def draw_mixtures(key: Tensor, skills: int) -> Tensor:
    """Share of each skill in the pretraining of every base student: keys int64 [n] -> float64 [n, K]."""
    return random.uniform(random.fold(key, 1), skills).pow(2)


def pretrain(
    task: Task, key: Tensor, share: Tensor, items: int, learn: Callable[[Tensor, int], None], title: str
) -> None:
    """Draw ``items`` train problems a student, by ``share`` [S, K] of the skills, and have them learned on one thread.

    ``learn`` gets problem ids int64 [S, N] and how many came before.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with progress_bar() as progress:
            bar = progress.add_task(title, total=items)
            for begin in range(0, items, _CHUNK):
                learn(draw_practice(task, random.fold(key, begin), share, _CHUNK), begin)
                progress.advance(bar, _CHUNK)
    finally:
        torch.set_num_threads(threads)
