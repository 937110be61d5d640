"""Subskills: regions of a skill's problems, found by splitting what its prompts have in different places.

A region is a set of problems that agree in something a student can see: small first operands, questions about the upper
row. A skill's train problems are split in two again and again, each time at the place and value of the prompt that divide them
most evenly, so that every region has a description and all are about equally large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym.tasks.base import Task

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Regions:
    """M regions a skill, of the train split.

    Attributes:
        problems: ids of the train problems, ordered by skill and region, int64 [n].
        start, count: where each region lies in ``problems``, int64 [K, M].
        names: what each region's prompts have in common, [K][M].
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
    pool, tokens = task.pool("train"), task.prompt.numpy()
    parts: list[Ints] = []
    names: list[list[str]] = []
    for skill, start, count in zip(task.skills, pool.start.tolist(), pool.count.tolist(), strict=True):
        leaves = [(np.arange(start, start + count), "")]
        for _ in range(depth):
            leaves = [half for leaf in leaves for half in _halves(tokens, *leaf)]
        if min(len(problems) for problems, _ in leaves) == 0:
            raise ValueError(
                f"The skill {skill.name} has too few problems for {2**depth} regions; use a smaller depth."
            )
        parts += [problems for problems, _ in leaves]
        names.append([name or "all" for _, name in leaves])
    count = torch.tensor([len(part) for part in parts]).view(len(task.skills), -1)
    start = (count.flatten().cumsum(0) - count.flatten()).view_as(count)
    return Regions(torch.from_numpy(np.concatenate(parts)), start, count, names)


def _halves(tokens: Ints, problems: Ints, name: str) -> list[tuple[Ints, str]]:
    """The most even split by "token ``place`` is at most ``value``"; where all prompts are alike, by turns."""
    if len(problems) < 2:
        return [(problems, name), (problems[:0], name)]
    mine, best = tokens[problems], (0, 0, 0)
    for place in range(mine.shape[1]):
        values, sizes = np.unique(mine[:, place], return_counts=True)
        smaller = np.minimum(sizes.cumsum(), len(problems) - sizes.cumsum())
        at = int(smaller.argmax())
        best = max(best, (int(smaller[at]), -place, int(values[at])))
    evenness, place, value = best
    if evenness == 0:
        return [(problems[0::2], name), (problems[1::2], name)]
    low = mine[:, -place] <= value
    prefix = f"{name}, " if name else ""
    return [
        (problems[low], f"{prefix}token {-place} up to {value}"),
        (problems[~low], f"{prefix}token {-place} above {value}"),
    ]
