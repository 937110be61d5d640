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
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from kdgym import random
from kdgym.settings import Settings
from kdgym.students.adamw import AdamWConfig, adamw_step
from kdgym.students.base import Batch, Tables
from kdgym.students.base_students.pool import base_students, draw_numbers
from kdgym.students.tiny.kernel import CompilationError, Kernel, KernelUnavailableError, check_batch, fingerprint
from kdgym.students.tiny.network import Cache, Network, NetworkShape
from kdgym.tasks.base import Task
from kdgym.tasks.feedback import KINDS, GivenFeedback, give_feedback
from kdgym.tasks.scratchpad import ERRORS, Scratchpad

_GROUP = 16  # students of a pass that keeps keys and values, or gradients; as many as a core's cache holds
_SHORT_ANSWER = 8  # tokens; the kernel reads all again for each, and is slower than a cache from here on
_EVALUATION_BATCH = 64  # sequences; keeps the activations of a population within a core's cache
_ROW_ALIGNMENT = 16  # floats; keeps every student's row on a 64-byte boundary

Engine = Literal["auto", "kernel", "torch"]


class TransformerConfig(Settings):
    """``student_options`` of tiny students: architecture and optimiser.

    Attributes:
        width: model width d. The kernel takes widths, hidden widths and twice a head's width that are multiples of 16.
        heads: attention heads H; divides ``width``.
        layers: number of blocks.
        feed_forward: width of the hidden layer, in units of d.
        batch: sequences B of one update.
        learning_rate, beta1, beta2, epsilon, weight_decay: AdamW (Loshchilov and Hutter, ICLR 2019, algorithm 2).
    """

    width: int = Field(default=32, ge=1, le=1024)
    heads: int = Field(default=4, ge=1)
    layers: int = Field(default=1, ge=1, le=32)
    feed_forward: int = Field(default=4, ge=1, le=16)
    batch: int = Field(default=16, ge=1, le=1024)
    learning_rate: float = Field(default=4e-3, gt=0, le=1)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0, le=1)

    @field_validator("heads")
    @classmethod
    def _divides(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width", heads)
        if width % heads:
            raise ValueError(f"heads divides the width, {width}")
        return heads


class TransformerStudents:
    """The engine of `kdgym.students.base.Students` for tiny transformers on one task.

    On a `Scratchpad` they are `kdgym.students.practice.Practitioners`. There the reference samples with a cache of keys and
    values.

    Args:
        task: what is taught; fixes the vocabulary and the lengths.
        config: architecture and optimiser.
        device: where the population lives, for example ``"cpu"`` or ``"cuda"``.
        dtype: floating-point type of weights and activations.
        engine: ``"torch"`` (the reference), ``"kernel"``, or ``"auto"``: the kernel wherever it can be had, else the
            reference, with a warning. That depends on the machine alone, not on what failed in this process.

    Attributes:
        engine: which of the two it is, ``"torch"`` or ``"kernel"``.
        tokens_per_item: tokens of one problem with its answer.
        forward_flops: floating-point operations of one forward pass over one item.

    Raises:
        KernelUnavailableError: ``engine="kernel"``, and it cannot be had: on another device, in another type, for such
            sizes, or without a C compiler. With ``"auto"``: the compiler failed, and yet there is a kernel on this machine.
    """

    training_flops = 3.0
    kinds: tuple[str, ...] = KINDS
    errors: tuple[str, ...] = ERRORS

    def __init__(
        self,
        task: Task,
        config: TransformerConfig | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: Engine = "auto",
    ) -> None:
        config = config or TransformerConfig()
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
        self.recipe = {"student": config.model_dump(mode="json"), "engine": self.engine, "dtype": str(dtype)}
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
            if isinstance(error, CompilationError) and fingerprint() != "none":  # records would name the kernel
                raise CompilationError(
                    f"{error}\nOther students on this machine are trained by the kernel, and torch operations round "
                    "otherwise. Mend the compiler, or choose engine='torch'."
                ) from error
            warnings.warn(
                f"{error}\nStudents are trained by torch operations instead, several times slower. They round otherwise, so "
                "scores differ a little from the kernel's. (engine='torch' chooses that without this warning.)",
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
            view.copy_(random.normal(random.fold(key, i), math.prod(shape)).view(len(key), *shape) * scale)
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
        return self._read(partial(self.network.features, layer=layer), state, problem, answer)

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
        if self.tables.scene is None and (self._kernel is None or begun.shape[2] > _SHORT_ANSWER):
            return self._decode_with_cache(state, problem, begun, known)
        if self._kernel is not None:
            return self._kernel.decode(state, self.tables, problem, begun, known)
        answers = begun.clone()
        for a in range(answers.shape[2]):
            logits = self.network.logits(state, *self._inputs(problem, answers, self.tables))
            answers[:, :, a] = torch.where(known > a, answers[:, :, a], logits.argmax(-1)[:, :, a])
        return answers

    def _decode_with_cache(self, state: Tensor, problem: Tensor, begun: Tensor, known: Tensor) -> Tensor:
        """Nothing is computed for most of the answers that are known."""
        unknown = known < begun.shape[2]
        index = unknown.long().argsort(dim=1, descending=True, stable=True)[:, : int(unknown.sum(1).max())]
        rows = index.unsqueeze(2).expand(-1, -1, begun.shape[2])
        asked, begins, stands = problem.gather(1, index), begun.gather(1, rows), known.gather(1, index)
        parts = self._groups(len(problem))
        answers = [self._answer(state[part], asked[part], begins[part], stands[part]) for part in parts]
        return begun.scatter(1, rows, torch.cat(answers))

    @torch.no_grad()
    def _answer(self, state: Tensor, problem: Tensor, begun: Tensor, known: Tensor) -> Tensor:
        if not problem.numel():
            return begun
        cache, tokens = Cache(self.network, state, self.tables.prompts[problem]), begun.clone()
        logits = cache.logits
        for a in range(begun.shape[2]):
            tokens[:, :, a] = torch.where(a < known, begun[:, :, a], logits.argmax(-1))
            if a + 1 < begun.shape[2]:
                logits = cache.read(tokens[:, :, a : a + 1])
        return tokens

    def _groups(self, students: int) -> list[slice]:
        return [slice(begin, begin + _GROUP) for begin in range(0, students, _GROUP)]

    def judge(self, problem: Tensor, said: Tensor) -> Tensor:
        """See `Students.judge`."""
        return self.task.judge(problem, said)

    def text_of(self, said: Tensor) -> list[str]:
        """See `Students.text_of`."""
        return [self.task.write_tokens(tokens) for tokens in said.cpu()]

    def tokens(self, problem: Tensor, answer: Tensor | None = None, tables: Tables | None = None) -> Tensor:
        """See `Students.tokens`: all items are equally long."""
        return torch.full_like(problem, self.tokens_per_item)

    # --- practice, on a scratchpad ---------------------------------------------------------------------------------

    @property
    def attempt_width(self) -> int:
        """See `Practitioners`; an attempt with feedback has the same room."""
        return self.answer_width

    @property
    def most_steps(self) -> int:
        """See `Practitioners`."""
        return self._scratchpad.steps

    @property
    def _scratchpad(self) -> Scratchpad:
        assert isinstance(self.task, Scratchpad)
        return self.task

    def sample(
        self, state: Tensor, problem: Tensor, uniform: Tensor, given: Tensor | None = None, count: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Practitioners`; of the tokens ``given``, int64 [S, P * G, A], the first ``count``, int64 [S, P * G], stand."""
        if self._kernel is not None:
            each = problem.repeat_interleave(uniform.shape[1] // problem.shape[1], dim=1)
            begun = torch.zeros(uniform.shape, dtype=torch.int64) if given is None else given
            known = torch.zeros_like(each) if count is None else count
            return self._kernel.sample(state, self.tables, each, uniform, begun, known)

        def some(part: slice) -> tuple[Tensor, Tensor]:
            forced = None if given is None or count is None else (given[part], count[part])
            return self._sample(state[part], problem[part], uniform[part], forced)

        tokens, log_p = zip(*map(some, self._groups(len(problem))), strict=True)
        return torch.cat(tokens), torch.cat(log_p)

    @torch.no_grad()
    def _sample(
        self, state: Tensor, problem: Tensor, uniform: Tensor, forced: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        cache = Cache(self.network, state, self.tables.prompts[problem], uniform.shape[1] // problem.shape[1])
        logits, tokens, log_p = cache.logits, [], []
        for a in range(uniform.shape[2]):
            likely = torch.log_softmax(logits, dim=-1)
            below = likely.exp().cumsum(-1) <= uniform[:, :, a : a + 1]
            token = below.sum(-1).clamp_max(logits.shape[-1] - 1)
            if forced is not None:
                token = torch.where(a < forced[1], forced[0][:, :, a], token)
            tokens.append(token)
            log_p.append(likely.gather(-1, token.unsqueeze(-1)).squeeze(-1))
            if a + 1 < uniform.shape[2]:
                logits = cache.read(token.unsqueeze(-1))
        return torch.stack(tokens, dim=2), torch.stack(log_p, dim=2)

    def resume(
        self, state: Tensor, problem: Tensor, uniform: Tensor, begun: Tensor, given: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Practitioners`; nothing is computed for most of the attempts that are not chosen."""
        most = int(chosen.sum(1).max())
        index = chosen.long().argsort(dim=1, descending=True, stable=True)[:, :most]
        rows = index.unsqueeze(2).expand(-1, -1, begun.shape[2])
        tokens, log_p = begun.clone(), torch.zeros_like(begun, dtype=state.dtype)
        if most:
            chance, prefix = uniform.gather(1, rows), begun.gather(1, rows)
            new = self.sample(state, problem.gather(1, index), chance, prefix, given.gather(1, index))
            tokens, log_p = tokens.scatter(1, rows, new[0]), log_p.scatter(1, rows, new[1])
        return tokens, log_p

    def comment(
        self,
        problem: Tensor,
        tokens: Tensor,
        right: Tensor,
        kind: Tensor,
        length: Tensor,
        said: Callable[[int, int], str] | None = None,
    ) -> GivenFeedback:
        """See `Practitioners` and `give_feedback`.

        Raises:
            ValueError: there are words to be read.
        """
        if said is not None:
            raise ValueError("These students read no words; comments in words are for student='hf:...'.")
        return give_feedback(self._scratchpad, problem, tokens, right, kind, length)

    def written(self, tokens: Tensor) -> Tensor:
        """See `Practitioners`; the ``.`` is included."""
        length = self._scratchpad.length(tokens).unsqueeze(-1)
        return torch.arange(tokens.shape[-1], device=tokens.device) < length

    def missteps(self, problem: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Practitioners` and `Scratchpad.first_error`."""
        place, kind = self._scratchpad.first_error(problem, tokens)
        return place < tokens.shape[-1], kind

    def rollout_tokens(self, problem: Tensor, valid: Tensor) -> Tensor:
        """See `Practitioners`; these students read all of A."""
        return torch.full_like(problem, self.tokens_per_item)

    @torch.no_grad()
    def log_p(self, state: Tensor, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Practitioners`."""
        if self._kernel is not None:
            return self._kernel.log_p(state, self.tables, problem, tokens)
        logits = self.network.logits(state, *self._inputs(problem, tokens, self.tables))
        return torch.log_softmax(logits, dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    def update(
        self,
        state: Tensor,
        problem: Tensor,
        tokens: Tensor,
        loss: Callable[[Tensor, slice], Tensor],
        active: Tensor,
        learning_rate: float,
        now: Tensor | None = None,
    ) -> None:
        """See `Practitioners`."""
        if self._kernel is not None:
            every = _slope(loss, self.log_p(state, problem, tokens) if now is None else now, slice(0, len(state)))
            gradient = self._kernel.gradient(state, self.weights, self.tables, problem, tokens, every)
        else:
            parts = self._groups(len(state))
            gradient = torch.cat([self._gradient(state, problem, tokens, loss, part) for part in parts])
        optimiser = self.config.model_copy(update={"learning_rate": learning_rate})
        self.step(state, gradient, active.to(state.dtype).unsqueeze(1), optimiser)

    def _gradient(
        self, state: Tensor, problem: Tensor, tokens: Tensor, loss: Callable[[Tensor, slice], Tensor], part: slice
    ) -> Tensor:
        """As the kernel's, of some of the students."""
        inputs, _ = self._inputs(problem[part], tokens[part], self.tables)
        return self.network.gradient(state[part], inputs, tokens[part], lambda log_p: _slope(loss, log_p, part))[1]

    def _inputs(self, problem: Tensor, answers: Tensor, tables: Tables) -> tuple[Tensor, Tensor | None]:
        """What the network reads: tokens [S, B, T + A - 1], and patches [S, B, n, p] where the task has images."""
        image = None
        if tables.scene is not None and tables.scenes is not None:
            image = tables.scenes[tables.scene[problem]].to(self.dtype) * tables.scale
        return torch.cat([tables.prompts[problem], answers[..., :-1]], dim=-1), image


def _slope(loss: Callable[[Tensor, slice], Tensor], log_p: Tensor, part: slice) -> Tensor:
    """The derivatives of some students' losses by their log-probabilities [s, B, A]."""
    with torch.enable_grad():
        variable = log_p.detach().requires_grad_()
        return torch.autograd.grad(loss(variable, part).sum(), variable)[0]
