"""Who learns: the protocol every engine follows.

An engine keeps nothing between calls. A population is one tensor ``state`` [S, row], a row a student, that holds all a
student's future depends on (weights, optimiser moments, number of updates).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from kdgym.students.kernel import Tables
from kdgym.tasks.base import Task


class Students(Protocol):
    """S students side by side.

    Attributes:
        task: what is taught.
        device: where states live.
        dtype: floating-point type of states.
        row: numbers a student's state consists of.
        weights: how many of them, from the front, are the model itself; the rest is the optimiser.
        tokens_per_item: tokens of one problem with its answer.
        forward_flops: floating-point operations of one forward pass over one item; a training item costs three.
        recipe: JSON-serialisable: students with equal recipes and states learn alike.
    """

    task: Task
    device: torch.device
    dtype: torch.dtype
    row: int
    weights: int
    tokens_per_item: int
    forward_flops: int
    recipe: dict[str, Any]

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> state [S, row]."""

    def train(
        self, state: Tensor, problem: Tensor, answer: Tensor, count: Tensor, tables: Tables | None = None
    ) -> Tensor:
        """Learn from the first ``count[i]`` of student i's items, in place; the items' losses before, [S, N].

        Ids are those of the task, or rows of other ``tables``.
        """

    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Unaided exact match and loss: problem ids [S, N] -> bool [S, N], nats an answer token [S, N]."""

    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        """Unaided answers: problem ids [S, N] -> tokens int64 [S, N, A]."""
