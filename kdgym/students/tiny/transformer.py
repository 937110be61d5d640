"""S small decoder-only transformers with stacked weights.

A population is one tensor, ``state`` [S, R]: row i holds student i's weights, its two AdamW moments and its number of
updates, so copying, saving or branching a student is copying a row. The functions here read and change that tensor and
keep nothing else.

Two implementations of the same function do the work. The reference is a program of batched torch operations (`kdgym.
students.network`): it runs on every device in every floating-point type, and reads nothing back to the host, so that a GPU can
record it. On a CPU, in float32, the kernel (`kdgym.students.tiny.kernel`) takes its place.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.adamw import AdamWConfig, adamw_step
from kdgym.students.base import Batch, Tables
from kdgym.students.base_students.pool import base_students, draw_numbers
from kdgym.students.tiny.kernel import Kernel, KernelUnavailableError, check_batch
from kdgym.students.tiny.network import Network, NetworkShape
from kdgym.tasks.base import Task

_EVALUATION_BATCH = 64  # sequences; keeps the activations of a population within a core's cache
_ROW_ALIGNMENT = 16  # floats; keeps every student's row on a 64-byte boundary

Engine = Literal["auto", "kernel", "torch"]


@dataclass(frozen=True)
class TransformerConfig:
    """Architecture and optimiser of the tiny student.

    Attributes:
        width: model width d.
        heads: attention heads H; divides ``width``.
        layers: number of blocks.
        feed_forward: width of the hidden layer, in units of d.
        batch: sequences B of one update.
        learning_rate, beta1, beta2, epsilon, weight_decay: AdamW (Loshchilov and Hutter, ICLR 2019, algorithm 2).
    """

    width: int = 32
    heads: int = 4
    layers: int = 1
    feed_forward: int = 4
    batch: int = 16
    learning_rate: float = 4e-3
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    weight_decay: float = 0.01


class TransformerStudents:
    """The engine of `kdgym.students.base.Students` for tiny transformers on one task.

    Args:
        task: what is taught; fixes the vocabulary and the lengths.
        config: architecture and optimiser.
        device: where the population lives, for example ``"cpu"`` or ``"cuda"``.
        dtype: floating-point type of weights and activations.
        engine: ``"torch"`` (the reference), ``"kernel"``, or ``"auto"``: the kernel wherever it can be had.

    Attributes:
        engine: which of the two it is, ``"torch"`` or ``"kernel"``.
        tokens_per_item: tokens of one problem with its answer.
        forward_flops: floating-point operations of one forward pass over one item.

    Raises:
        KernelUnavailableError: ``engine="kernel"``, and it cannot be had: on another device, in another type, for such
            sizes, or without a C compiler.
    """

    training_flops = 3.0

    def __init__(
        self,
        task: Task,
        config: TransformerConfig = TransformerConfig(),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: Engine = "auto",
    ) -> None:
        self.task, self.config, self.dtype = task, config, dtype
        self.recordable = not task.free_form  # such answers are judged on the host
        self.device = torch.device(device)
        self.solution = task.solution.to(self.device)
        self.tables = Tables.of(task, self.device)
        scenes = self.tables.scenes
        shape = NetworkShape(
            vocabulary=task.vocabulary,
            prompt=task.prompt.shape[1],
            answer=task.answer.shape[1],
            width=config.width,
            heads=config.heads,
            layers=config.layers,
            feed_forward=config.feed_forward,
            patches=0 if scenes is None else scenes.shape[1],
            pixels=0 if scenes is None else scenes.shape[2],
        )
        self.network = Network(shape, self.device, dtype)
        self.weights = self.network.weights
        self.answer_width = shape.answer
        self._stride = -(-self.weights // _ROW_ALIGNMENT) * _ROW_ALIGNMENT
        self.row = 3 * self._stride + _ROW_ALIGNMENT
        self.forward_flops = self.network.forward_flops()
        self.tokens_per_item = self.network.shape.length + 1
        self.flops_per_token = self.forward_flops / self.tokens_per_item
        self._kernel = None if engine == "torch" else self._load_kernel(required=engine == "kernel")
        self.engine: Engine = "torch" if self._kernel is None else "kernel"
        self.recipe = {"student": asdict(config), "engine": self.engine, "dtype": str(dtype)}
        c = config
        self._optimiser = torch.tensor([c.learning_rate, c.beta1, c.beta2, c.epsilon, c.weight_decay])

    def _load_kernel(self, required: bool) -> Kernel | None:
        if self.device.type != "cpu" or self.dtype != torch.float32:
            if required:
                raise KernelUnavailableError(
                    f"The kernel is for float32 on the CPU, not {self.dtype} on {self.device}."
                )
            return None
        try:
            return Kernel(self.network.shape, self.config.batch)
        except KernelUnavailableError as error:
            if required:
                raise
            warnings.warn(
                f"{error}\nStudents are trained by torch operations instead, several times slower. (engine='torch' chooses "
                "that without this warning.)",
                RuntimeWarning,
                stacklevel=4,
            )
            return None

    # --- state ---------------------------------------------------------------------------------------------------

    def initialise(self, key: Tensor) -> Tensor:
        """Untrained students, one a key: int64 [S] -> state [S, row]. Matrices N(0, 1 / inputs)."""
        state = torch.zeros(len(key), self.row, dtype=self.dtype, device=self.device)
        for i, (view, shape) in enumerate(zip(self.network.views(state), self.network.matrices, strict=True)):
            scale = 0.3 if i < 2 else shape[0] ** -0.5
            u = random.uniform(random.fold(key, i), 2 * math.prod(shape)).view(len(key), 2, *shape)
            normal = torch.sqrt(-2 * torch.log1p(-u[:, 0])) * torch.cos(2 * math.pi * u[:, 1])  # Box-Muller
            view.copy_(normal * scale)
        return state

    def draw_base(self, key: Tensor, pool: str, recipe: dict[str, Any]) -> Tensor:
        """See `Students.draw_base`: one of the pool's `kdgym.students.base_students.pool.POOL_SIZE` pretrained students."""
        return base_students(self, pool, {**recipe, **self.recipe}, draw_numbers(key))

    # --- learning ------------------------------------------------------------------------------------------------

    def train(self, state: Tensor, batch: Batch, tables: Tables | None = None) -> Tensor:
        """See `Students.train`."""
        check_batch(batch, len(state), self.answer_width, self.network.shape.vocabulary)
        tables = tables or self.tables
        if self._kernel is not None:
            return self._kernel.train(state, self._stride, tables, batch, self._optimiser)
        size = self.config.batch
        losses = torch.zeros(batch.problem.shape, dtype=self.dtype, device=self.device)
        slot = torch.arange(size, device=self.device)
        for begin in range(0, batch.problem.shape[1], size):
            part = slice(begin, begin + size)
            targets = tables.answers[batch.target[:, part]]
            inputs, image = self._inputs(batch.problem[:, part], targets, tables)
            real = slot[: targets.shape[1]] < (batch.count - begin)[:, None]
            valid, weight, soft = real.to(self.dtype), *self._targets(batch, part, real)
            losses[:, part], gradient = self.network.loss_and_gradient(
                state, inputs, targets, valid, image, weight, soft
            )
            self.step(state, gradient, valid.sum(1, keepdim=True) / size, self.config)
        return losses

    def _targets(self, batch: Batch, part: slice, real: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Weights and soft targets of a mini-batch, whose filler (which may be NaN) is 0."""
        weight, soft = (None if t is None else t[:, part].to(self.dtype) for t in (batch.weight, batch.soft))
        weight = weight if weight is None else torch.where(real, weight, 0)
        return weight, soft if soft is None else torch.where(real[:, :, None, None], soft, 0)

    def step(self, state: Tensor, gradient: Tensor, share: Tensor, optimiser: AdamWConfig) -> None:
        """One AdamW step down a gradient [S, weights], in place; see `adamw_step`."""
        p, n = self.weights, self._stride
        weight, m, v = (state[:, begin : begin + p] for begin in (0, n, 2 * n))
        adamw_step(optimiser, weight, m, v, state[:, 3 * n : 3 * n + 1], gradient, share)

    # --- examination ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Verdicts and loss on problems, unaided.

        One teacher-forced pass decides whether the answer is the listed solution: greedy decoding reproduces it if and only
        if every solution token is the most likely one given those before it. Where other answers may be right too, the
        students' own answers go to the task's judge; up to the first token that is not the solution's, that pass has found
        them already.

        Args:
            problem: problem ids, int64 [S, N].

        Returns:
            ``(right, loss)``: bool [S, N], and nats an answer token [S, N] of the listed solution.
        """
        solution = self.solution[problem]
        if self._kernel is not None:
            right, loss, likeliest = self._kernel.evaluate(state, self.tables, problem, solution)
        else:
            right, loss, likeliest = self._evaluate(state, problem, self.tables.answers[solution])
        if self.task.free_form:
            followed = (likeliest == self.tables.answers[solution]).cumprod(-1).sum(-1)
            right = right | self.task.judge(problem, self._decode(state, problem, likeliest, followed + 1))
        return right, loss

    def _evaluate(self, state: Tensor, problem: Tensor, answers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.evaluate`; the answers as tokens [S, N, A]."""
        tokens, loss = [], []
        for part in torch.arange(problem.shape[1], device=self.device).split(_EVALUATION_BATCH):
            targets = answers[:, part]
            logits = self.network.logits(state, *self._inputs(problem[:, part], targets, self.tables))
            tokens.append(logits.argmax(-1))
            picked = torch.log_softmax(logits, dim=-1).gather(-1, targets.unsqueeze(-1))
            loss.append(-picked.squeeze(-1).mean(-1))
        likeliest = torch.cat(tokens, dim=1)
        return (likeliest == answers).all(-1), torch.cat(loss, dim=1), likeliest

    @torch.no_grad()
    def logits(self, state: Tensor, problem: Tensor, answer: Tensor | None = None) -> Tensor:
        """See `Students.logits`."""
        return self._read(self.network.logits, state, problem, answer)

    @torch.no_grad()
    def features(self, state: Tensor, problem: Tensor, layer: int, answer: Tensor | None = None) -> Tensor:
        """See `Students.features`."""
        if not 0 <= layer <= self.config.layers:
            raise ValueError(f"There is no layer {layer}; choose from 0 to {self.config.layers}.")

        def read(state: Tensor, inputs: Tensor, image: Tensor | None) -> Tensor:
            return self.network.features(state, inputs, layer, image)

        return self._read(read, state, problem, answer)

    def _read(self, read: Callable[..., Tensor], state: Tensor, problem: Tensor, answer: Tensor | None) -> Tensor:
        """What a pass over problems and answers gives, a few sequences at a time."""
        tokens = self.tables.answers[self.solution[problem] if answer is None else answer]
        parts = torch.arange(problem.shape[1], device=self.device).split(_EVALUATION_BATCH)
        return torch.cat([read(state, *self._inputs(problem[:, p], tokens[:, p], self.tables)) for p in parts], dim=1)

    @torch.no_grad()
    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        """Greedy answers token by token: problem ids [S, N] -> tokens int64 [S, N, A]."""
        begun = self.tables.answers[self.solution[problem]]
        return self._decode(state, problem, begun, torch.zeros_like(problem))

    def _decode(self, state: Tensor, problem: Tensor, begun: Tensor, known: Tensor) -> Tensor:
        """Greedy answers [S, N, A] that go on after the first ``known`` [S, N] tokens of ``begun`` [S, N, A]."""
        if self._kernel is not None:
            return self._kernel.decode(state, self.tables, problem, begun, known)
        answers = begun.clone()
        for a in range(answers.shape[2]):
            logits = self.network.logits(state, *self._inputs(problem, answers, self.tables))
            answers[:, :, a] = torch.where(known > a, answers[:, :, a], logits.argmax(-1)[:, :, a])
        return answers

    def judge(self, problem: Tensor, said: Tensor) -> Tensor:
        """See `Students.judge`."""
        return self.task.judge(problem, said)

    def text_of(self, said: Tensor) -> list[str]:
        """See `Students.text_of`."""
        return [self.task.write_tokens(tokens) for tokens in said.cpu()]

    def tokens(self, problem: Tensor, answer: Tensor | None = None, tables: Tables | None = None) -> Tensor:
        """See `Students.tokens`: all items are equally long."""
        return torch.full_like(problem, self.tokens_per_item)

    def _inputs(self, problem: Tensor, answers: Tensor, tables: Tables) -> tuple[Tensor, Tensor | None]:
        """What the network reads: tokens [S, B, T + A - 1], and patches [S, B, n, p] where the task has images."""
        image = None
        if tables.scene is not None and tables.scenes is not None:
            image = tables.scenes[tables.scene[problem]].to(self.dtype) * tables.scale
        return torch.cat([tables.prompts[problem], answers[..., :-1]], dim=-1), image
