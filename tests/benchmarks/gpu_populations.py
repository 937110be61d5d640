"""Tiny students on a device: recorded and eager steps against this processor's kernel, and as shares of the device's limits."""

from __future__ import annotations

import itertools
import math
import os
import statistics
from collections.abc import Callable
from typing import Any, TypeVar

import gymnasium as gym
import torch
from baselines import EXAMINED, ITEMS, Work
from devices import by_size, clock, in_turn, limits
from environment import ID, Timed
from report import Part
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdgym.core.recorded_step import Program
from kdgym.envs.datagen.skill_list import SkillList
from kdgym.students import Batch

SIZES, QUICK_SIZES = (64, 256, 1024, 4096, 16384, 65536), (2, 4)
WHOLE, QUICK_WHOLE = (64, 4096), (2,)  # students of whole environments
QUICK_SETTINGS: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}
ROUNDS, QUICK_ROUNDS = 5, 2
MOST_ON_KERNEL = 4096  # students; its time per student is constant, and a larger population takes it too long


Result = TypeVar("Result")


class Eager(SkillList):
    """The environment without recording: the host launches every operation."""

    recorded = False


class Traffic(TorchDispatchMode):
    """Counts the bytes of all operations' operands and results: what must be moved if nothing stays in a cache."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if not views and not func._schema.name.startswith("aten::empty"):
            self.total += sum(_bytes(x) for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor))
        return result


def _bytes(tensor: Tensor) -> int:
    """Of the distinct elements; broadcast dimensions have stride 0."""
    return tensor.itemsize * math.prod(n for n, s in zip(tensor.shape, tensor.stride(), strict=True) if s)


def step_bytes(students: int = 4) -> float:
    """Bytes that the torch engine moves for a step of one student, from one batch of each kind; all of them are alike."""
    work = Work(students, "torch")
    engine, learned, examined = work.engine, work.lesson[:, : work.engine.config.batch], work.exam[:, :64]
    with Traffic() as learning:
        engine.train(work.state, Batch(learned, engine.solution[learned], torch.full((students,), learned.shape[1])))
    with Traffic() as examining:
        engine.evaluate(work.state, examined)
    batches = ITEMS / learned.shape[1], EXAMINED / examined.shape[1]
    return (batches[0] * learning.total + batches[1] * examining.total) / students


def on_all_cores(run: Callable[[], Result]) -> Result:
    """What ``run`` returns; torch, and with it the kernel, has a thread for every core meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        return run()
    finally:
        torch.set_num_threads(before)


def recorded(work: Work) -> Callable[[], object]:
    """The work's step as a `Program`."""

    def step(argument: Tensor) -> Tensor:
        work.run()
        return argument

    program, argument = Program(step, [work.state]), torch.zeros(1, device=work.engine.device)
    return lambda: program(argument)


def summary(rounds: list[dict[str, float]], flops: float, moved: float) -> dict[str, float]:
    """Medians of steps/s, of speeds in kernels within a round, and of shares of the device's limits.

    Args:
        rounds: seconds of a student's step by variant, beside ``matmul_flops`` and ``copy_bytes``.
        flops, moved: floating-point operations and bytes of a student's step.
    """
    result = {}
    for name in ("kernel", "eager", "recorded"):
        result[f"{name}_steps_per_s"] = statistics.median(1 / r[name] for r in rounds)
    for name in ("eager", "recorded"):
        result[f"{name}_to_kernel"] = statistics.median(r["kernel"] / r[name] for r in rounds)
        result[f"{name}_share_of_matmul"] = statistics.median(flops / r[name] / r["matmul_flops"] for r in rounds)
        result[f"{name}_share_of_copy"] = statistics.median(moved / r[name] / r["copy_bytes"] for r in rounds)
    result["recorded_to_eager"] = statistics.median(r["eager"] / r["recorded"] for r in rounds)
    return result


def measure_learning(part: Part, device: torch.device, sizes: tuple[int, ...], number: int) -> None:
    """A row per number of students: the learning and examining of an environment step, by `Work`."""
    rows: list[dict[str, Any]] = []
    flops, moved, limit = float(Work(1).flops), step_bytes(), limits(device, torch.float32)
    part.keep(flops_per_step=flops, bytes_per_step=moved, rows=rows)

    def measure(row: dict[str, Any]) -> None:
        size = row["students"]
        kernel = Work(min(size, MOST_ON_KERNEL), "kernel")
        row["kernel_students"] = kernel.students
        work = Work(size, "torch", device=str(device))
        cpu = torch.device("cpu")
        variants = {
            "kernel": clock(lambda: on_all_cores(kernel.run), cpu, kernel.students),
            "eager": clock(work.run, device, size),
            "recorded": clock(recorded(work), device, size),
        }
        row["rounds"] = in_turn(part, number, {**limit, **variants})
        row |= summary(row["rounds"], flops, moved)

    by_size(part, rows, sizes, measure)


def measure_environments(part: Part, device: torch.device, sizes: tuple[int, ...], number: int, **lesson: Any) -> None:
    """A row per number of students: whole episodes of the environment, with all that is not learning."""
    rows: list[dict[str, Any]] = []
    part.keep(environments=rows)

    def measure(row: dict[str, Any]) -> None:
        settings: dict[str, Any] = {**lesson, "num_envs": row["students"], "device": str(device), "engine": "torch"}
        envs = {
            "kernel": gym.make_vec(ID, num_envs=row["students"], engine="kernel", **lesson),
            "eager": Eager(task="Math", **settings),
            "recorded": gym.make_vec(ID, **settings),
        }
        variants = {name: _episode(Timed(env)) for name, env in envs.items()}
        kernel = variants["kernel"]
        variants["kernel"] = lambda: on_all_cores(kernel)
        for run in variants.values():
            run()  # the first one pretrains base students, and records
        rounds = row["rounds"] = in_turn(part, number, variants)
        for name in variants:
            row[f"{name}_steps_per_s"] = statistics.median(1 / r[name] for r in rounds)
        for name, other in itertools.combinations(variants, 2):
            row[f"{other}_to_{name}"] = statistics.median(r[name] / r[other] for r in rounds)

    by_size(part, rows, sizes, measure)


def _episode(timed: Timed) -> Callable[[], float]:
    """Seconds of a student's step in a whole episode."""
    return lambda: timed.episode()[0] / timed.envs.num_envs / (timed.envs.steps - 1)


def measure(part: Part, device: torch.device, quick: bool) -> None:
    """See the module's docstring."""
    note = "a CUDA graph" if device.type == "cuda" else "not recorded, as a Program is just called on a CPU"
    part.keep(recorded=note, float32_matmul_precision=torch.get_float32_matmul_precision())
    if quick:
        measure_learning(part, device, QUICK_SIZES, QUICK_ROUNDS)
        measure_environments(part, device, QUICK_WHOLE, QUICK_ROUNDS, **QUICK_SETTINGS)
    else:
        measure_learning(part, device, SIZES, ROUNDS)
        measure_environments(part, device, WHOLE, ROUNDS)
