"""Problems of examinations, drawn anew for every episode or fixed for all students, and problems of practice."""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import Split, Task


def draw_items(task: Task, split: Split, key: Tensor, size: int) -> Tensor:
    """``size`` distinct problems of every skill, as far as there are enough: keys [S] -> int64 [S, K * size], by skill."""
    pool = task.pool(split)
    start, count = pool.start.to(key.device), pool.count.to(key.device)
    skills = torch.arange(len(count), device=key.device)
    order = random.uniform(random.fold(key.unsqueeze(1), skills), int(count.max()))
    order = order.masked_fill(torch.arange(order.shape[2], device=key.device) >= count[:, None], 2.0)
    place = torch.arange(size, device=key.device) % count[:, None]
    chosen = order.argsort(dim=2, stable=True).gather(2, place.expand(len(key), -1, -1))
    return (start[:, None] + chosen).flatten(1)


def draw_practice(task: Task, key: Tensor, share: Tensor, size: int) -> Tensor:
    """``size`` problems of the train split, skills in proportion to ``share`` [S, K]: keys [S] -> int64 [S, size]."""
    pool = task.pool("train")
    place = random.uniform(random.fold(key, 0), size) * share.sum(1, keepdim=True)
    skill = torch.searchsorted(share.cumsum(1), place, right=True).clamp_max(share.shape[1] - 1)
    index = random.integers(random.fold(key, 1), size, pool.count.to(key.device)[skill])
    return pool.start.to(key.device)[skill] + index


def fixed_items(task: Task, split: Split, most: int, draw: int = 0) -> Tensor:
    """Up to ``most`` problems of every skill, the same for all students, chosen by a hash of the task's version: int64 [n].

    Other numbers of ``draw`` choose others.
    """
    pool, chosen = task.pool(split), []
    for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
        key = random.fold(torch.tensor(task.version), start)
        order = random.uniform(random.fold(key, draw) if draw else key, count).argsort(stable=True)
        chosen.append(start + order[:most])
    return torch.cat(chosen)
