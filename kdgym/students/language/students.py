"""Language models as students: a population is S sets of weights over one model from a Hugging Face directory.

As for tiny students, a population is one tensor ``state`` [S, row]: row i holds student i's LoRA
adapter, both AdamW moments and its number of updates, in float32. The base model is frozen,
shared by all engines of a process, and no part of the state. Items of one student lie side by side in one sequence
(`kdgym.students.language.packing`).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from kdgym import random
from kdgym.students.adamw import adamw_step
from kdgym.students.base import Batch, Tables
from kdgym.students.base_students.pool import POOLS
from kdgym.students.language.adapters import Adapters
from kdgym.students.language.generation import Local, Reading, Writer
from kdgym.students.language.options import LanguageOptions
from kdgym.students.language.packing import Item, Pack, pack
from kdgym.students.language.pretrained import load_model, stop_tokens
from kdgym.students.language.prompts import Prompts
from kdgym.students.tiny.kernel import check_batch
from kdgym.tasks.base import Task

_TOLERANCE = 1e-2  # of a logit: packed against alone, float32
_EXAMINED = 32  # problems of one row
_SPARE = 8  # tokens a student may say beyond the longest right answer


class LanguageStudents:
    """The engine of `kdgym.students.base.Students` for causal language models on one task.

    Args:
        path: directory or hub id of the model.
        task: what is taught; it has no pictures.
        options: how students learn and speak.
        device: where base and students live.
        dtype: floating-point type of the base model; states are float32 in any case.

    Raises:
        ValueError: the model cannot be loaded or cannot be a student, or the task has pictures.
    """

    recordable = False
    training_flops = 2.0  # passes: no gradients of the frozen base
    dtype = torch.float32

    def __init__(
        self,
        path: str,
        task: Task,
        options: LanguageOptions | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if task.scenes is not None:
            raise ValueError(f"The student hf:{path} reads text only, and the task {task.name} shows pictures.")
        options = options or LanguageOptions.parse({})
        self.task, self.options, self.path, self.device = task, options, path, torch.device(device)
        self.model, tokenizer = load_model(path, str(self.device), dtype)
        self.backbone, self._head = self.model.base_model, self.model.get_output_embeddings()
        # transformers 5.24 calls it cache; earlier versions, to which vLLM holds an environment, past_key_values.
        parameters = inspect.signature(self.backbone.forward).parameters
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        self.prompts = Prompts(tokenizer, task, stop_tokens(self.model, tokenizer))
        self.adapted = Adapters(self.model, options.rank, options.alpha, options.target_modules)
        self.weights = self.adapted.size
        self.row = 3 * self.weights + 1
        self.answer_width = options.max_new_tokens or self.prompts.longest_answer + _SPARE
        self.solution = task.solution.to(self.device)
        # Every weight that is no embedding meets every token once; so does the output layer, which often shares the embedding.
        embedding = self.model.get_input_embeddings().weight
        inner = sum(p.numel() for p in self.backbone.parameters() if p is not embedding)
        self.flops_per_token = 2.0 * (inner + self._head.weight.numel())
        self.recipe = {"student": options.model_dump(mode="json"), "model": path, "dtype": str(dtype)}
        self._check_packing()
        self.writer: Writer = Local(self)
        if options.backend == "vllm":
            from kdgym.students.language.vllm import Server  # only those who have one need it

            self.writer = Server(self)

    def _check_packing(self) -> None:
        """Two prompts side by side must be answered like each alone.

        Raises:
            ValueError: they are not; the architecture does not follow positions and masks.
        """
        prompts = [self.prompts.problem(text) for text in ("What is 1 + 1?", "Which is larger, 3 or 14?")]
        with torch.no_grad():
            packed = pack([[(prompt, [self.prompts.end]) for prompt in prompts]]).to(self.device)
            logits = self._answers(packed, self.read(packed.tokens, packed.position, packed.mask()))
            alone = [self.model(torch.tensor([p], device=self.device)).logits[0, -1] for p in prompts]
        difference = float((logits - torch.stack(alone)).abs().max())
        exact = self.model.dtype == torch.float32
        if not difference < (_TOLERANCE if exact else 64 * _TOLERANCE):
            raise ValueError(
                f"The model {self.path} ({type(self.model).__name__}) answers prompts that lie side by side differently from "
                f"each alone (logits differ by {difference:.2g}), so it cannot be a student: it does not support packing."
            )

    # --- state ---------------------------------------------------------------------------------------------------

    def initialise(self, key: Tensor) -> Tensor:
        """Untaught students, one a key: int64 [S] -> state [S, row]. They answer like the base model."""
        state = torch.zeros(len(key), self.row, device=self.device)
        state[:, : self.weights] = self.adapted.initialise(key)
        return state

    def draw_base(self, key: Tensor, pool: str, recipe: dict[str, Any]) -> Tensor:
        """See `Students.draw_base`: the base model, with an adapter of one's own."""
        return self.adapted.initialise(random.fold(key, POOLS.index(pool)))

    def export(self, state: Tensor, folder: Path) -> None:
        """Write one student [row] as an adapter in PEFT's format."""
        self.adapted.export(state[: self.weights], folder, self.path)

    def load(self, folder: Path) -> Tensor:
        """A student [row] with the adapter in ``folder``, in PEFT's format, and a fresh optimiser.

        Raises:
            ValueError: the adapter does not fit; see `Adapters.load`.
        """
        weights = self.adapted.load(folder).to(self.device)
        return torch.cat([weights, weights.new_zeros(self.row - self.weights)])

    # --- reading -------------------------------------------------------------------------------------------------

    def tokens(self, problem: Tensor, answer: Tensor | None = None, tables: Tables | None = None) -> Tensor:
        """Tokens of each item alone, chat template included: ids [S, N] -> int64 [S, N]."""
        answer = self.solution[problem] if answer is None else answer
        items = self.prompts.items(problem.flatten().tolist(), answer.flatten().tolist(), tables)
        return torch.tensor([len(p) + len(a) for p, a in items], device=problem.device).view_as(problem)

    def read(
        self, tokens: Tensor, position: Tensor, mask: Tensor, cache: Any = None, layer: int | None = None
    ) -> Tensor:
        """The bound students' last hidden states, or those of a layer, [S, L, width]."""
        output = self.backbone(
            input_ids=tokens,
            position_ids=position,
            attention_mask=mask,
            use_cache=cache is not None,
            output_hidden_states=layer is not None,
            **{self._cache_argument: cache},
        )
        hidden: Tensor = output.last_hidden_state if layer is None else output.hidden_states[layer]
        return hidden

    def speak(self, hidden: Tensor) -> Tensor:
        """Hidden states [n, width] -> float32 logits [n, vocabulary]."""
        logits: Tensor = self._head(hidden).float()
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    # --- learning ------------------------------------------------------------------------------------------------

    def train(self, state: Tensor, batch: Batch, tables: Tables | None = None) -> Tensor:
        """See `Students.train`. An answer's end of turn is one of its tokens."""
        self._check(state, batch, tables)
        size, counts = self.options.batch, batch.count.tolist()
        losses = torch.zeros(batch.problem.shape, device=self.device)
        for begin in range(0, min(batch.problem.shape[1], max(counts, default=0)), size):
            part = slice(begin, begin + size)
            rows = self._rows(
                batch.problem[:, part], batch.target[:, part], [max(0, n - begin) for n in counts], tables
            )
            for group in self._groups(rows):
                weight, soft = (None if given is None else given[group, part] for given in (batch.weight, batch.soft))
                loss = self._update(state[group], rows[group], weight, soft)
                losses[group, begin : begin + loss.shape[1]] = loss
        return losses

    def _check(self, state: Tensor, batch: Batch, tables: Tables | None) -> None:
        """See `check_batch`; soft targets have room for the longest answer at least."""
        check_batch(replace(batch, soft=None), len(state), 0, 0)
        if batch.soft is not None:
            valid = torch.arange(batch.problem.shape[1], device=batch.count.device) < batch.count.unsqueeze(1)
            items = self.prompts.items(batch.problem[valid].tolist(), batch.target[valid].tolist(), tables)
            room = max([len(answer) for _, answer in items] + list(batch.soft.shape[2:3]), default=0)
            check_batch(batch, len(state), room, len(self._head.weight))

    def _update(self, state: Tensor, rows: list[list[Item]], weight: Tensor | None, soft: Tensor | None) -> Tensor:
        """One AdamW step of some students on one mini-batch each, in place; the items' losses before, [S, n]."""
        packed = pack(rows).to(self.device)
        p, valid = self.weights, packed.answer_length > 0
        if not valid.any():
            return torch.zeros(valid.shape, device=self.device)
        number = valid.sum(1, keepdim=True)
        with self.adapted.bound(state[:, :p]) as leaves, self._checkpointing():
            logits = self._answers(packed, self.read(packed.tokens, packed.position, packed.mask()))
            loss = self._item_loss(packed, logits, soft)
            weighted = loss if weight is None else loss * weight[:, : loss.shape[1]].masked_fill(~valid, 0)
            gradients = torch.autograd.grad((weighted / number.clamp_min(1)).sum(), leaves)
        gradient = self.adapted.flatten(gradients)
        del gradients, logits
        m, v = state[:, p : 2 * p], state[:, 2 * p : 3 * p]
        adamw_step(self.options, state[:, :p], m, v, state[:, 3 * p :], gradient, number / self.options.batch)
        return loss.detach()

    @contextmanager
    def _checkpointing(self) -> Iterator[None]:
        """Blocks keep only their input while this is open.

        The model's own switch changes its name with the version of transformers, and needs blocks in training mode.
        """
        blocks: list[Any] = []
        if self.options.gradient_checkpointing:
            blocks = [module for module in self.backbone.modules() if isinstance(module, GradientCheckpointingLayer)]
        for block in blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward  # the class's own is found again

    # --- examination ---------------------------------------------------------------------------------------------

    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        """Unaided verdicts and losses; see `Students.evaluate`.

        The loss is that of the listed solution. Where its every token is the likeliest one, greedy decoding says the solution;
        of all others the answer is written out and verified by the task.
        """
        loss, solved, said = self._examine(state, problem)
        return solved | self.judge(problem, said), loss

    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        """Unaided greedy answers in the model's own tokens, padded by the end of the turn; see `Students.decode`."""
        return self._examine(state, problem)[2]

    def logits(self, state: Tensor, problem: Tensor, answer: Tensor | None = None) -> Tensor:
        """See `Students.logits`; V is the model's vocabulary, so ask for few items at a time."""
        return self._read_answers(state, problem, answer, None)

    def features(self, state: Tensor, problem: Tensor, layer: int, answer: Tensor | None = None) -> Tensor:
        """See `Students.features`."""
        layers = self.model.config.num_hidden_layers
        if not 0 <= layer <= layers:
            raise ValueError(f"There is no layer {layer}; choose from 0 to {layers}.")
        return self._read_answers(state, problem, answer, layer)

    @torch.no_grad()
    def _read_answers(self, state: Tensor, problem: Tensor, answer: Tensor | None, layer: int | None) -> Tensor:
        """What stands where answer tokens are predicted, float32 [S, N, A, ...]: a layer's hidden states, or logits."""
        answer = self.solution[problem] if answer is None else answer
        rows = self._rows(problem, answer, [problem.shape[1]] * len(problem))
        longest = max((len(tokens) for row in rows for _, tokens in row), default=0)
        width = len(self._head.weight) if layer is None else self._head.weight.shape[1]
        found = torch.zeros(*problem.shape, longest, width, device=self.device)
        for place, items in self._passes(rows):
            packed = pack(items).to(self.device)
            with self.adapted.bound(state[place[0], : self.weights]):
                hidden = self.read(packed.tokens, packed.position, packed.mask(), layer=layer)
                here = self._answers(packed, hidden) if layer is None else hidden[packed.row, packed.slot].float()
            found[place][packed.row, packed.number, packed.place] = here
        return found

    def judge(self, problem: Tensor, said: Tensor) -> Tensor:
        """Verdicts of the task on answers [..., answer_width] to problems [...]."""
        answers = self.text_of(said.flatten(0, -2))
        verdicts = [self.task.verify(p, text) for p, text in zip(problem.flatten().tolist(), answers, strict=True)]
        return torch.tensor(verdicts, device=problem.device).view(problem.shape)

    def text_of(self, said: Tensor) -> list[str]:
        """Answers int64 [n, answer_width] as text."""
        return [self.prompts.read(tokens) for tokens in said.cpu()]

    @torch.no_grad()
    def _examine(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss [S, N] of the listed solutions, whether they are what greedy decoding says [S, N], and what it says
        [S, N, answer_width].
        """
        rows = self._rows(problem, self.solution[problem], [problem.shape[1]] * len(problem))
        loss = torch.zeros(problem.shape, device=self.device)
        solved = torch.zeros(problem.shape, dtype=torch.bool, device=self.device)
        said = torch.full((*problem.shape, self.answer_width), self.prompts.end, device=self.device)
        for place, items in self._passes(rows):
            weights = state[place[0], : self.weights]
            with self.adapted.bound(weights):
                loss[place], solved[place], said[place] = self._read_and_write(weights, items)
        return loss, solved, said

    def _read_and_write(self, weights: Tensor, rows: list[list[Item]]) -> tuple[Tensor, Tensor, Tensor]:
        packed = pack(rows).to(self.device)
        cache = DynamicCache(config=self.model.config)
        hidden = self.read(packed.tokens, packed.position, packed.mask(), cache)
        logits = self._answers(packed, hidden)
        hits = torch.zeros(packed.answer_length.numel(), device=self.device)
        hits.index_add_(0, packed.item, (logits.argmax(-1) == packed.target).float())
        solved = hits.view_as(packed.answer_length) == packed.answer_length
        said = self.writer.write(weights, rows, ~solved, Reading(packed, hidden, cache))
        right = [[[*answer, *[self.prompts.end] * said.shape[2]][: said.shape[2]] for _, answer in row] for row in rows]
        said = torch.where(solved.unsqueeze(2), torch.tensor(right, device=self.device), said)
        return self._item_loss(packed, logits), solved, said

    # --- machinery -----------------------------------------------------------------------------------------------

    def _rows(
        self, problem: Tensor, answer: Tensor, counts: Sequence[int], tables: Tables | None = None
    ) -> list[list[Item]]:
        """Each student's first ``counts[i]`` items.

        Raises:
            ValueError: an item is longer than the model's sliding window, which packing does not follow.
        """
        rows = [
            self.prompts.items(p[:count], a[:count], tables)
            for p, a, count in zip(problem.tolist(), answer.tolist(), counts, strict=True)
        ]
        window = getattr(self.model.config, "sliding_window", None)
        longest = max((len(p) + len(a) for row in rows for p, a in row), default=0)
        if window is not None and longest + self.answer_width > window:
            raise ValueError(
                f"An item of {longest} tokens (and an answer of {self.answer_width}) does not fit into the sliding window of "
                f"{window} tokens of the model {self.path}; take a model that attends to everything."
            )
        return rows

    def _passes(self, rows: list[list[Item]]) -> Iterator[tuple[tuple[slice, slice], list[list[Item]]]]:
        """Equally long rows, a forward pass at a time: which students' which items, and these."""
        longest = max((len(p) + len(a) for row in rows for p, a in row), default=1)
        size = max(1, min(_EXAMINED, self.options.most_tokens // longest))
        for begin in range(0, max(map(len, rows), default=0), size):
            part = [row[begin : begin + size] for row in rows]
            for group in self._groups(part):
                yield (group, slice(begin, begin + size)), part[group]

    def _groups(self, rows: list[list[Item]]) -> Iterator[slice]:
        """Neighbouring students whose rows fit into one forward pass together."""
        begin, longest = 0, 0
        for end, items in enumerate(rows):
            length = sum(len(p) + len(a) for p, a in items)
            if end > begin and max(longest, length) * (end + 1 - begin) > self.options.most_tokens:
                yield slice(begin, end)
                begin, longest = end, 0
            longest = max(longest, length)
        if rows:
            yield slice(begin, len(rows))

    def _answers(self, packed: Pack, hidden: Tensor) -> Tensor:
        """Logits where answer tokens are predicted, float32 [A, vocabulary]."""
        return self.speak(hidden[packed.row, packed.slot])

    def _item_loss(self, packed: Pack, logits: Tensor, soft: Tensor | None = None) -> Tensor:
        """Nats an answer token of every item, [S, n]; 0 where there is none. For tokens, or distributions [S, >= n, A, V]."""
        target = packed.target
        if soft is not None:
            target = soft[packed.row, packed.number, packed.place].to(logits.dtype)
        token_loss = F.cross_entropy(logits, target, reduction="none")
        total = torch.zeros(packed.answer_length.numel(), device=self.device).index_add(0, packed.item, token_loss)
        return total.view_as(packed.answer_length) / packed.answer_length.clamp_min(1)
