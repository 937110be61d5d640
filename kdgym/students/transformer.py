"""S small decoder-only transformers with stacked weights.

A population is one tensor, ``state`` [S, R]: row i holds student i's weights, its two AdamW moments and its number of
updates, so copying, saving or branching a student is copying a row. The functions here read and change that tensor and
keep nothing else.

Two implementations of the same function do the work. The reference is a program of batched torch operations (`kdgym.
students.network`): it runs on every device in every floating-point type, and reads nothing back to the host, so that a GPU can
record it. On a CPU, in float32, the kernel (`kdgym.students.kernel`) takes its place.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.kernel import Kernel, KernelUnavailableError, Tables
from kdgym.students.network import Network, NetworkShape
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

    Raises:
        KernelUnavailableError: ``engine="kernel"``, and it cannot be had: on another device, in another type, for such
            sizes, or without a C compiler.
    """

    def __init__(
        self,
        task: Task,
        config: TransformerConfig = TransformerConfig(),
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: Engine = "auto",
    ) -> None:
        self.task, self.config, self.dtype = task, config, dtype
        self.device = torch.device(device)
        self.solution = task.solution.to(self.device)
        scene, scenes = (None if t is None else t.to(self.device) for t in (task.scene, task.scenes))
        prompts, answers = task.prompt.to(self.device), task.answer.to(self.device)
        self.tables = Tables(prompts, answers, scene, scenes, task.pixel_scale)
        shape = NetworkShape(
            vocabulary=task.vocabulary,
            prompt=prompts.shape[1],
            answer=answers.shape[1],
            width=config.width,
            heads=config.heads,
            layers=config.layers,
            feed_forward=config.feed_forward,
            patches=0 if scenes is None else scenes.shape[1],
            pixels=0 if scenes is None else scenes.shape[2],
        )
        self.network = Network(shape, self.device, dtype)
        self.weights = self.network.weights
        self._stride = -(-self.weights // _ROW_ALIGNMENT) * _ROW_ALIGNMENT
        self.row = 3 * self._stride + _ROW_ALIGNMENT
        self.forward_flops = self.network.forward_flops()
        self.tokens_per_item = self.network.shape.length + 1
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

    # --- learning ------------------------------------------------------------------------------------------------

    def train(
        self, state: Tensor, problem: Tensor, answer: Tensor, count: Tensor, tables: Tables | None = None
    ) -> Tensor:
        """One pass of AdamW over each student's items, in place.

        Args:
            state: [S, row], changed in place.
            problem: problem ids, int64 [S, N].
            answer: ids of the answers to learn, int64 [S, N]; they may be wrong.
            count: how many of the N items student i has, int64 [S]; items from ``count[i]`` on are ignored. A last batch
                that is not full makes a proportionally smaller step.
            tables: what the ids stand for, where it is not the task's own problems and answers.

        Returns:
            Loss of every item just before the update that used it (nats an answer token), [S, N]; 0 where ignored.
        """
        tables = tables or self.tables
        if self._kernel is not None:
            return self._kernel.train(state, self._stride, tables, problem, answer, count, self._optimiser)
        size = self.config.batch
        losses = torch.zeros(problem.shape, dtype=self.dtype, device=self.device)
        slot = torch.arange(size, device=self.device)
        for begin in range(0, problem.shape[1], size):
            part = slice(begin, begin + size)
            targets = tables.answers[answer[:, part]]
            inputs, image = self._inputs(problem[:, part], targets, tables)
            valid = (slot[: targets.shape[1]] < (count - begin)[:, None]).to(self.dtype)
            losses[:, part], gradient = self.network.loss_and_gradient(state, inputs, targets, valid, image)
            self.step(state, gradient, valid.sum(1, keepdim=True) / size)
        return losses

    def step(self, state: Tensor, gradient: Tensor, share: Tensor, learning_rate: float | None = None) -> None:
        """One AdamW step down a gradient [S, weights], in place.

        Args:
            state: [S, row].
            gradient: overwritten.
            share: of a full batch, [S, 1]: scales the step; students with share 0 stay as they are.
            learning_rate: where it is not that of the config.
        """
        c, p, n = self.config, self.weights, self._stride
        weight, m, v = state[:, :p], state[:, n : n + p], state[:, 2 * n : 2 * n + p]
        updates = state[:, 3 * n : 3 * n + 1]
        active = (share > 0).to(self.dtype)
        updates += active
        t = updates.clamp_min(1)
        rate = (c.learning_rate if learning_rate is None else learning_rate) * share
        correction = (1 - c.beta2**t).sqrt()
        m.lerp_(gradient, active * (1 - c.beta1))
        v.lerp_(gradient.square_(), active * (1 - c.beta2))
        direction = m / v.sqrt().add_(c.epsilon * correction)
        weight.mul_(1 - rate * c.weight_decay).addcmul_(direction, -rate * correction / (1 - c.beta1**t))

    # --- examination ---------------------------------------------------------------------------------------------

    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Verdicts and loss on problems, unaided.

        Where other answers than the listed solution may be right too, the students' own answers go to the task's judge.

        Args:
            problem: problem ids, int64 [S, N].

        Returns:
            ``(right, loss)``: bool [S, N], and nats an answer token [S, N] of the listed solution.
        """
        right, loss = self.compare(state, problem)
        if self.task.free_form:
            right = right | self.task.judge(problem, self.decode(state, problem, right))
        return right, loss

    @torch.no_grad()
    def compare(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the students' answers are the listed solutions, bool [S, N], and the loss of those, [S, N].

        One teacher-forced pass decides: greedy decoding reproduces a solution if and only if every token of it is the most
        likely one given those before it.
        """
        if self._kernel is not None:
            return self._kernel.evaluate(state, self.tables, problem, self.solution[problem])
        return self._evaluate(state, problem)

    def _evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        right, loss = [], []
        for part in problem.split(_EVALUATION_BATCH, dim=1):
            targets = self.tables.answers[self.solution[part]]
            logits = self.network.logits(state, *self._inputs(part, targets, self.tables))
            right.append((logits.argmax(-1) == targets).all(-1))
            picked = torch.log_softmax(logits, dim=-1).gather(-1, targets.unsqueeze(-1))
            loss.append(-picked.squeeze(-1).mean(-1))
        return torch.cat(right, dim=1), torch.cat(loss, dim=1)

    @torch.no_grad()
    def decode(self, state: Tensor, problem: Tensor, solved: Tensor | None = None) -> Tensor:
        """Greedy answers token by token: problem ids [S, N] -> tokens int64 [S, N, A].

        Args:
            problem: problem ids, int64 [S, N].
            solved: where the answer is known to be the listed solution, bool [S, N].
        """
        answers = self.tables.answers[self.solution[problem]]
        if self._kernel is not None:
            skip = torch.zeros_like(problem, dtype=torch.bool) if solved is None else solved
            return self._kernel.decode(state, self.tables, problem, skip, answers)
        for a in range(answers.shape[2]):
            logits = self.network.logits(state, *self._inputs(problem, answers, self.tables))
            answers[:, :, a] = logits.argmax(-1)[:, :, a]
        return answers

    def _inputs(self, problem: Tensor, answers: Tensor, tables: Tables) -> tuple[Tensor, Tensor | None]:
        """What the network reads: tokens [S, B, T + A - 1], and patches [S, B, n, p] where the task has images."""
        image = None
        if tables.scene is not None and tables.scenes is not None:
            image = tables.scenes[tables.scene[problem]].to(self.dtype) * tables.scale
        return torch.cat([tables.prompts[problem], answers[..., :-1]], dim=-1), image
