"""The protocol that every student engine follows.

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


@dataclass(frozen=True)
class Batch:
    """What S students learn in one call: N items each, of which the first ``count`` are valid.

    An item's loss is the cross entropy of its target, in nats an answer token. An update goes down the sum over a mini-batch
    of weight times gradient, divided by the number of its valid items (not by the sum of their weights): an item of weight 2
    pulls like two, and one of weight 0 does not pull. AdamW divides by the size of recent gradients, so what matters is the
    ratio of weights, within a mini-batch and from one to the next.

    Attributes:
        problem: ids of problems, int64 [S, N].
        target: ids of the answers to learn, int64 [S, N]; they may be wrong.
        count: valid items of each student, int64 [S]; what stands behind them is ignored.
        weight: of each item, float [S, N], finite and at least 0; None for 1.
        soft: target distributions over the student's vocabulary at every answer token, float [S, N, A, V]; None for the
            tokens of ``target`` alone, which otherwise are just what is read before each token (teacher forcing). Rows are
            at least 0 and sum to 1. For language models, A is at least the longest answer's number of tokens, its end
            included, and rows behind a shorter answer's end are not used.
    """

    problem: Tensor
    target: Tensor
    count: Tensor
    weight: Tensor | None = None
    soft: Tensor | None = None


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

    def train(self, state: Tensor, batch: Batch, tables: Tables | None = None) -> Tensor:
        """One pass of AdamW over each student's items, in place. A last mini-batch that is not full makes a smaller step.

        Args:
            state: [S, row], changed in place.
            batch: the items.
            tables: what the ids stand for, where it is not the task's own problems and answers.

        Returns:
            Loss of every item just before the update that used it, without its weight, [S, N]; 0 where ignored.

        Raises:
            ValueError: the batch's shapes or values are refused; nothing has changed then.
        """

    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Unaided exact match and loss: problem ids [S, N] -> bool [S, N], nats an answer token [S, N]."""

    def logits(self, state: Tensor, problem: Tensor, answer: Tensor | None = None) -> Tensor:
        """Scores of every next token where answers are written, teacher-forced along the given ones; no gradients.

        Args:
            state: [S, row].
            problem: ids, int64 [S, N].
            answer: ids of what is read, int64 [S, N]; None for the listed solutions.

        Returns:
            [S, N, A, V]. For language models, A is the longest of these answers, and what stands behind a shorter one is 0.
        """

    def features(self, state: Tensor, problem: Tensor, layer: int, answer: Tensor | None = None) -> Tensor:
        """The residual stream at the places of `logits`, after block ``layer``: [S, N, A, D]; no gradients.

        Layer 0 is what the first block reads. Language models' last layer includes the final norm, as in transformers.

        Raises:
            ValueError: there is no such layer.
        """

    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        """Unaided answers: problem ids [S, N] -> the student's own tokens, int64 [S, N, answer_width]."""

    def judge(self, problem: Tensor, said: Tensor) -> Tensor:
        """The task's verdicts on answers of `decode`: [...] and [..., answer_width] -> bool [...]."""

    def text_of(self, said: Tensor) -> list[str]:
        """Answers of `decode` as text: int64 [n, answer_width] -> n texts."""

    def tokens(self, problem: Tensor, answer: Tensor | None = None, tables: Tables | None = None) -> Tensor:
        """Tokens of items, each alone: ids [S, N] -> int64 [S, N]. Answers left out are the listed solutions."""
