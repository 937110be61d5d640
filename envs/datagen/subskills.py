"""Subskills: regions of a skill's problems, found by splitting what they differ in.

A region is a set of problems that agree in something: small first operands, questions about the upper row, three terms. A
skill's train problems are split in two again and again, each time at the trait and value that divide them most evenly, so that
every region has a description and all are about equally large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym.tasks.base import Task

Ints = npt.NDArray[np.int64]
_EVEN_ENOUGH = 1 / 8  # share of the smaller half


@dataclass(frozen=True)
class Regions:
    """M regions a skill, of the train split.

    Attributes:
        problems: ids of the train problems, ordered by skill and region, int64 [n].
        start, count: where each region lies in ``problems``, int64 [K, M].
        names: what each region's problems have in common, [K][M].
    """

    problems: Tensor
    start: Tensor
    count: Tensor
    names: list[list[str]]


def split_into_regions(task: Task, depth: int = 3) -> Regions:
    """Split the train problems of every skill into ``2**depth`` regions.

    Raises:
        ValueError: a skill has too few different prompts for so many regions.
    """
    pool, traits = task.pool("train"), [(table.names, table.value.numpy()) for table in task.traits()]
    parts: list[Ints] = []
    names: list[list[str]] = []
    for k, (start, count) in enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True)):
        mine = [(skill_names[k], value) for skill_names, value in traits]
        leaves = [(np.arange(start, start + count), "")]
        for _ in range(depth):
            leaves = [half for leaf in leaves for half in _halves(mine, *leaf)]
        if min(len(problems) for problems, _ in leaves) == 0:
            raise ValueError(
                f"The skill {task.skills[k].name} has too few problems for {2**depth} regions; use a smaller depth."
            )
        parts += [problems for problems, _ in leaves]
        names.append([name or "all" for _, name in leaves])
    count = torch.tensor([len(part) for part in parts]).view(len(task.skills), -1)
    start = (count.flatten().cumsum(0) - count.flatten()).view_as(count)
    return Regions(torch.from_numpy(np.concatenate(parts)), start, count, names)


def _halves(traits: Sequence[tuple[list[str], npt.NDArray[Any]]], problems: Ints, name: str) -> list[tuple[Ints, str]]:
    """The most even split by "the trait is at most the value"; where all problems are alike, by turns.

    Of several tables of traits the first counts that splits evenly enough.
    """
    if len(problems) < 2:
        return [(problems, name), (problems[:0], name)]
    best: tuple[int, str, npt.NDArray[np.bool_]] = 0, "", np.empty(0, bool)
    for names, table in traits:
        best = max(best, _most_even(names, table[problems]), key=lambda split: split[0])
        if best[0] >= _EVEN_ENOUGH * len(problems):
            break
    evenness, trait, low = best
    if evenness == 0:
        return [(problems[0::2], name), (problems[1::2], name)]
    prefix = f"{name}, " if name else ""
    up_to, above = trait, trait.replace("up to", "above")
    return [(problems[low], prefix + up_to), (problems[~low], prefix + above)]


def _most_even(names: list[str], table: npt.NDArray[Any]) -> tuple[int, str, npt.NDArray[np.bool_]]:
    """Size of the smaller half, its description, and which problems are in the lower half; the first of equals."""
    best: tuple[int, int, Any] = 0, 0, 0
    for column in range(table.shape[1]):
        values, sizes = np.unique(table[:, column], return_counts=True)
        smaller = np.minimum(sizes.cumsum(), len(table) - sizes.cumsum())
        at = int(smaller.argmax())
        if smaller[at] > best[0]:
            best = int(smaller[at]), column, values[at]
    evenness, column, value = best
    if evenness == 0:
        return 0, "", np.empty(0, bool)
    return evenness, f"{names[column]} up to {value:g}", table[:, column] <= value
