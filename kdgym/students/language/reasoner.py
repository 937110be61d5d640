"""Language models that reason in words: they sample attempts, go on from what a teacher said, and learn by policy gradient.

They are `LanguageStudents`, and here is what reinforcement needs beside that (`kdgym.students.practice.Practitioners`).
What is packed side by side are attempts at one problem, so that the problem is read once for all of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from kdgym.students.adamw import adamw_step
from kdgym.students.language.generation import Reading, write_on
from kdgym.students.language.packing import Item, Pack, pack
from kdgym.students.language.students import LanguageStudents
from kdgym.tasks.feedback import TEXT_KINDS, GivenFeedback

_NOTHING = -1  # no token
# How the teacher's words begin, in the middle of what the student writes.
_INTRODUCTIONS = {"hint": "Hint:", "concept": "Remember:", "next_step": "The solution begins:"}
_INTRODUCTION = "Teacher:"  # of a teacher's own words
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
_MARKER = re.compile(r"answer\s*:", re.IGNORECASE)  # only a student answers


@dataclass(frozen=True)
class _Rows:
    """Attempts to be packed, a row for every student's problem.

    Attributes:
        items: problem and attempt of each.
        student: whose row it is, int64 [R].
        attempt: which of the student's attempts, int64 [R, n]; -1 where there is none.
    """

    items: list[list[Item]]
    student: Tensor
    attempt: Tensor

    def of(self, part: slice) -> _Rows:
        """Some of the rows."""
        return _Rows(self.items[part], self.student[part], self.attempt[part])

    def whose(self, packed: Pack) -> tuple[Tensor, Tensor, Tensor]:
        """Student, attempt and place within the attempt of every answer token, int64 [T] each."""
        attempt = self.attempt[:, : packed.ask.shape[1]].flatten()[packed.item]
        return self.student[packed.row], attempt, packed.place


class LanguageReasoners(LanguageStudents):
    """S language models side by side; arguments and errors are those of `LanguageStudents`.

    An attempt has `answer_width` tokens at most; with feedback and what follows it, there is room for `width`. What is longer
    than the model's context is refused.

    Attributes:
        errors: ``cut`` (the attempt did not end in time), ``empty`` and ``wrong``.
    """

    kinds: tuple[str, ...] = TEXT_KINDS
    errors: tuple[str, ...] = ("cut", "empty", "wrong")
    most_steps = 4

    @property
    def attempt_width(self) -> int:
        """See `Practitioners`."""
        return self.answer_width

    @property
    def width(self) -> int:
        """Tokens of an attempt, feedback and what follows it."""
        return 2 * self.answer_width + self.options.max_feedback_tokens

    # --- what they write -----------------------------------------------------------------------------------------

    def written(self, tokens: Tensor) -> Tensor:
        """See `Practitioners`; the end of the turn is included."""
        return tokens != _NOTHING

    def text_of(self, said: Tensor) -> list[str]:
        """See `Students.text_of`."""
        return super().text_of(said.masked_fill(said == _NOTHING, self.prompts.end))

    def missteps(self, problem: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Practitioners`; where prose goes wrong is not known, so every attempt counts as having an error."""
        ended = self._ended(tokens)
        empty = (self.written(tokens).sum(-1) <= 1) & ended
        kind = torch.where(ended, torch.where(empty, 1, 2), 0)
        return torch.ones_like(ended), kind

    def rollout_tokens(self, problem: Tensor, valid: Tensor) -> Tensor:
        """See `Practitioners`."""
        lengths = [[len(self._prompt(p)) for p in row] for row in problem.tolist()]
        return valid.sum(-1) + torch.tensor(lengths, device=problem.device)

    def _ended(self, tokens: Tensor) -> Tensor:
        return torch.isin(tokens, torch.tensor(sorted(self.prompts.stops), device=tokens.device)).any(-1)

    def _prompt(self, problem: int) -> list[int]:
        return self.prompts.problem(self.task.text(problem))

    # --- attempts ------------------------------------------------------------------------------------------------

    def sample(self, state: Tensor, problem: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """See `Practitioners`."""
        each = problem.repeat_interleave(uniform.shape[1] // problem.shape[1], dim=1)
        begun = torch.full((*each.shape, self.width), _NOTHING, device=problem.device)
        return self.resume(state, each, uniform, begun, torch.zeros_like(each), torch.ones_like(each, dtype=torch.bool))

    @torch.no_grad()
    def resume(
        self, state: Tensor, problem: Tensor, uniform: Tensor, begun: Tensor, given: Tensor, chosen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Practitioners`; what was begun and has an end is not gone on with."""
        place = torch.arange(begun.shape[2], device=begun.device)
        tokens = torch.where(place < given.unsqueeze(2), begun, _NOTHING)
        log_p = torch.zeros(begun.shape, device=begun.device)
        filler = [self.prompts.end]  # its last token is predicted, not read: there writing goes on
        rows = self._practice(problem, tokens, chosen, filler)
        for part in self._groups(rows.items):
            self._continue(state, rows.of(part), uniform, tokens, log_p)
        return tokens, log_p

    def _continue(self, state: Tensor, rows: _Rows, uniform: Tensor, tokens: Tensor, log_p: Tensor) -> None:
        """Write on, into ``tokens`` and ``log_p`` [S, B, A]."""
        packed, cache = pack(rows.items).to(self.device), DynamicCache(config=self.model.config)
        student, attempt, place = rows.whose(packed)
        begun, attempts = packed.answer_length - 1, rows.attempt[:, : packed.ask.shape[1]]
        last = (packed.answer_length.flatten().cumsum(0) - 1).view_as(begun).clamp_min(0)
        with self.adapted.bound(state[rows.student, : self.weights]):
            hidden = self.read(packed.tokens, packed.position, packed.mask(), cache)
            likely = torch.log_softmax(self._answers(packed, hidden), dim=-1)
            known = likely.gather(1, packed.target.unsqueeze(1)).squeeze(1)
            read = place < begun.flatten()[packed.item]
            log_p[student[read], attempt[read], place[read]] = known[read]

            def draw(new: int, row: Tensor, item: Tensor, logits: Tensor) -> Tensor:
                who, which = rows.student[row], attempts[row, item]
                at = begun[row, item] + new
                likely = torch.log_softmax(logits, dim=-1)
                below = likely.exp().cumsum(-1) <= uniform[who, which, at].unsqueeze(1)
                token = below.sum(-1).clamp_max(logits.shape[-1] - 1)
                tokens[who, which, at] = token
                log_p[who, which, at] = likely.gather(1, token.unsqueeze(1)).squeeze(1)
                return token

            every = torch.arange(len(begun), device=self.device).unsqueeze(1)
            open_ = (packed.answer_length > 0) & ~self._ended(tokens[rows.student.unsqueeze(1), attempts])
            write_on(self, Reading(packed, hidden, cache), every, packed.slot[last], packed.length - 1, open_, draw)

    # --- feedback ------------------------------------------------------------------------------------------------

    def comment(
        self,
        problem: Tensor,
        tokens: Tensor,
        right: Tensor,
        kind: Tensor,
        length: Tensor,
        said: Callable[[int, int], str] | None = None,
    ) -> GivenFeedback:
        """See `Practitioners`: words behind the attempt, whose end is taken back; a full solution stands in its place.

        Whole sentences are said as far as there is room for them; what does not fit, and all that follows it, is left out. A
        full solution always ends in the answer, and takes the room of an attempt as well.
        """
        taught = torch.full_like(tokens, _NOTHING)
        own = torch.full_like(problem, tokens.shape[2])
        given = own.clone()
        for s, b in itertools.product(*map(range, problem.shape)):
            name, attempt = self.kinds[int(kind[s])], self._without_end(tokens[s, b])
            if said is not None:
                feedback = self._words(_INTRODUCTION, _SENTENCE.split(_MARKER.sub("answer", said(s, b)).strip()))
            elif name == "full_solution":
                attempt, feedback = [], self._solution(self.task.advice(int(problem[s, b]), name))
            else:
                feedback = self._words(
                    _INTRODUCTIONS[name], self.task.advice(int(problem[s, b]), name)[: int(length[s])]
                )
            if feedback:
                whole = torch.tensor([*attempt, *feedback], device=tokens.device)
                taught[s, b, : len(whole)], own[s, b], given[s, b] = whole, len(attempt), len(whole)
        return GivenFeedback(taught, own, given)

    def _words(self, introduction: str, sentences: list[str]) -> list[int]:
        """As many of the first sentences as there is room for; empty if none."""
        fits: list[int] = []
        for number in range(1, 1 + len(sentences) if any(sentences) else 0):
            words = self._tokens(f"\n{introduction} {' '.join(sentences[:number])}\n")
            if len(words) > self.options.max_feedback_tokens:
                break
            fits = words
        return fits

    def _solution(self, sentences: list[str]) -> list[int]:
        """As many of the first steps as there is room for, the answer, and the end; empty if there is none."""
        for number in reversed(range(len(sentences))):
            words = [*self._tokens("\n".join([*sentences[:number], sentences[-1]])), self.prompts.end]
            if len(words) <= self.width:
                return words
        return []

    def _tokens(self, text: str) -> list[int]:
        """Without what would end the turn."""
        return [token for token in self.prompts.answer(text) if token not in self.prompts.stops]

    def _without_end(self, tokens: Tensor) -> list[int]:
        return [token for token in _said(tokens.tolist()) if token not in self.prompts.stops]

    # --- learning ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def log_p(self, state: Tensor, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Practitioners`; 0 beyond the end of an attempt."""
        log_p = torch.zeros(tokens.shape, device=tokens.device)
        rows = self._practice(problem, tokens, self.written(tokens).any(2))
        for part in self._groups(rows.items):
            mine = rows.of(part)
            with self.adapted.bound(state[mine.student, : self.weights]):
                place, known = self._known(mine)
            log_p[place] = known
        return log_p

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
        """See `Practitioners`; all attempts of a student are in one pass, also where their probabilities are known."""
        p, attempted = self.weights, self.written(tokens).any(2)
        optimiser = self.options.model_copy(update={"learning_rate": learning_rate})
        for part in self._students_at_once(problem, tokens, attempted):
            rows = self._practice(problem[part], tokens[part], attempted[part])
            with self.adapted.bound(state[part][rows.student, :p]) as leaves, self._checkpointing():
                place, known = self._known(rows)
                log_p = torch.zeros(tokens[part].shape, device=self.device).index_put(place, known)
                gradients = torch.autograd.grad(loss(log_p, part).sum(), leaves)
            gradient = torch.zeros_like(state[part, :p]).index_add(0, rows.student, self.adapted.flatten(gradients))
            del gradients, log_p, known
            mine, m, v = (state[part, i * p : (i + 1) * p] for i in range(3))
            share = active[part].to(state.dtype).unsqueeze(1)
            adamw_step(optimiser, mine, m, v, state[part, 3 * p :], gradient, share)

    def _known(self, rows: _Rows) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Where every token of some attempts of the bound students stands, and its log-probability, [T]."""
        packed = pack(rows.items).to(self.device)
        logits = self._answers(packed, self.read(packed.tokens, packed.position, packed.mask()))
        return rows.whose(packed), torch.log_softmax(logits, dim=-1).gather(1, packed.target.unsqueeze(1)).squeeze(1)

    def _students_at_once(self, problem: Tensor, tokens: Tensor, attempted: Tensor) -> Iterator[slice]:
        """Neighbouring students whose attempts fit into one pass together."""
        rows = self._practice(problem, tokens, attempted)
        whole: list[list[Item]] = [[] for _ in problem]
        for student, items in zip(rows.student.tolist(), rows.items, strict=True):
            whole[student] += items
        yield from self._groups(whole)

    def _practice(self, problem: Tensor, tokens: Tensor, chosen: Tensor, filler: Any = ()) -> _Rows:
        """The chosen attempts, without what stands behind their ends.

        Raises:
            ValueError: one may grow longer than the model's context.
        """
        items: list[list[Item]] = []
        students: list[int] = []
        attempts: list[list[int]] = []
        for s, (asked, said, flags) in enumerate(zip(problem.tolist(), tokens.tolist(), chosen.tolist(), strict=True)):
            for p, run in itertools.groupby((b for b, flag in enumerate(flags) if flag), key=asked.__getitem__):
                attempts.append(list(run))
                students.append(s)
                prompt = self._prompt(p)
                items.append([(prompt, [*_said(said[b]), *filler]) for b in attempts[-1]])
        context = getattr(self.model.config, "max_position_embeddings", None)
        longest = max((len(prompt) for row in items for prompt, _ in row), default=0) + self.width
        if context is not None and longest > context:
            raise ValueError(
                f"A problem with an attempt, feedback and what follows may take {longest} tokens, and the model {self.path} "
                f"reads {context}; choose a smaller max_new_tokens or max_feedback_tokens in student_options."
            )
        most = max(map(len, attempts), default=0)
        padded = torch.tensor([row + [-1] * (most - len(row)) for row in attempts], device=self.device)
        return _Rows(items, torch.tensor(students, device=self.device, dtype=torch.int64), padded)


def _said(tokens: list[int]) -> list[int]:
    return [token for token in tokens if token != _NOTHING]
