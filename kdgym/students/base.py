"""Who learns: the protocol every engine follows.

An engine keeps nothing between calls. A population is one tensor ``state`` [S, row], a row a student, that holds all a
student's future depends on (weights, optimiser moments, number of updates).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from kdgym.tasks.base import Task


@dataclass(frozen=True)
class Tables:
    """What a task's ids stand for.

    Attributes:
        prompts: tokens of every problem, int64 [P, T].
        answers: tokens of every answer, int64 [N, A].
        scene: the image of every problem, int64 [P], where there are images.
        scenes: patches of every image, uint8 [images, n, p].
        scale: what pixels are multiplied by.
        written: problem and answer of every row behind the task's own, for students that read text.
    """

    prompts: Tensor
    answers: Tensor
    scene: Tensor | None = None
    scenes: Tensor | None = None
    scale: float = 1.0
    written: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, task: Task, device: torch.device) -> Tables:
        """A task's own tables."""
        scene, scenes = (None if t is None else t.to(device) for t in (task.scene, task.scenes))
        return cls(task.prompt.to(device), task.answer.to(device), scene, scenes, task.pixel_scale)

    def check(self, problem: Tensor, answer: Tensor | None = None) -> None:
        """C would read past a table.

        Raises:
            IndexError: there is no such problem or answer.
        """
        for ids, table in ((problem, self.prompts), (answer, self.answers)):
            if ids is not None and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
                raise IndexError(
                    f"Ids from {int(ids.min())} to {int(ids.max())} were given; there are {len(table)} rows."
                )


class Students(Protocol):
    """S students side by side.

    Attributes:
        task: what is taught.
        device: where states live.
        dtype: floating-point type of states.
        row: numbers a student's state consists of.
        weights: how many of them, from the front, are the model itself; the rest is the optimiser.
        answer_width: tokens of an answer as `decode` gives it.
        flops_per_token: floating-point operations of one forward pass, by token.
        training_flops: how many forward passes learning from an item costs.
        recordable: whether nothing is read back to the host, so that a GPU can record a step.
        recipe: JSON-serialisable: students with equal recipes and states learn alike.
    """

    task: Task
    device: torch.device
    dtype: torch.dtype
    row: int
    weights: int
    answer_width: int
    flops_per_token: float
    training_flops: float
    recordable: bool
    recipe: dict[str, Any]

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> state [S, row]."""

    def draw_base(self, key: Tensor, pool: str, recipe: dict[str, Any]) -> Tensor:
        """What students are before an episode, one a key: int64 [S] -> weights [S, weights].

        Args:
            key: of each student's random stream.
            pool: ``"train"`` or ``"evaluation"``; no student is in both.
            recipe: JSON-serialisable description of the task.
        """

    def train(
        self, state: Tensor, problem: Tensor, answer: Tensor, count: Tensor, tables: Tables | None = None
    ) -> Tensor:
        """Learn from the first ``count[i]`` of student i's items, in place; the items' losses before, [S, N].

        Ids are those of the task, or rows of other ``tables``.
        """

    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Unaided exact match and loss: problem ids [S, N] -> bool [S, N], nats an answer token [S, N]."""

    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        """Unaided answers: problem ids [S, N] -> the student's own tokens, int64 [S, N, answer_width]."""

    def judge(self, problem: Tensor, said: Tensor) -> Tensor:
        """The task's verdicts on answers of `decode`: [...] and [..., answer_width] -> bool [...]."""

    def text_of(self, said: Tensor) -> list[str]:
        """Answers of `decode` as text: int64 [n, answer_width] -> n texts."""

    def tokens(self, problem: Tensor, answer: Tensor | None = None, tables: Tables | None = None) -> Tensor:
        """Tokens of items, each alone: ids [S, N] -> int64 [S, N]. Answers left out are the listed solutions."""
