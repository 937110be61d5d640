"""Students that reason in tokens: they sample attempts, go on from what a teacher wrote, and learn by policy gradient.

They are `TransformerStudents`; here is what reinforcement needs beside what those can do.
As there, the reference is a program of batched torch operations over all students, with a key-value cache where tokens are
sampled, and the kernel takes its place on a CPU in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kdgym.students.tiny.network import Cache
from kdgym.students.tiny.transformer import TransformerStudents
from kdgym.tasks.feedback import KINDS, GivenFeedback, give_feedback
from kdgym.tasks.scratchpad import ERRORS, Scratchpad

_GROUP = 16  # students at a time; keeps the activations of a pass within the cache of a core


class Reasoners(TransformerStudents):
    """S students side by side; arguments and errors are those of `TransformerStudents`.

    On a `Scratchpad` they are `kdgym.students.practice.Practitioners`.
    """

    kinds: tuple[str, ...] = KINDS
    errors: tuple[str, ...] = ERRORS

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

    def _groups(self, students: int) -> list[slice]:
        return [slice(begin, begin + _GROUP) for begin in range(0, students, _GROUP)]

    def sample(
        self, state: Tensor, problem: Tensor, uniform: Tensor, given: Tensor | None = None, count: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sample attempts from the students' own distributions.

        Args:
            state: [S, row].
            problem: problem ids, int64 [S, P].
            uniform: random numbers in [0, 1), [S, P * G, A]: G attempts at every problem, side by side.
            given: what attempts begin with, int64 [S, P * G, A]; ``count``, int64 [S, P * G], tokens of it stand.

        Returns:
            Tokens int64 [S, P * G, A] and their log-probabilities [S, P * G, A], also of those given.
        """
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
        """Let students go on from attempts that were begun for them.

        Args:
            state: [S, row].
            problem: int64 [S, B].
            uniform: [S, B, A].
            begun: int64 [S, B, A], of which the first ``given``, int64 [S, B], tokens stand.
            chosen: which attempts are meant, bool [S, B]; nothing is computed for most of the others.

        Returns:
            Tokens int64 [S, B, A] and log-probabilities [S, B, A]; without meaning where not chosen.
        """
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

    def _decode(self, state: Tensor, problem: Tensor, begun: Tensor, known: Tensor) -> Tensor:
        """See `TransformerStudents`; with a cache, and nothing is computed for most of the answers that are known."""
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

    @torch.no_grad()
    def log_p(self, state: Tensor, problem: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of attempts int64 [S, B, A] at problems int64 [S, B]."""
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
        """One AdamW step down the gradient of a loss, in place.

        Args:
            state: [S, row], changed in place.
            problem: int64 [S, B].
            tokens: int64 [S, B, A].
            loss: from the log-probabilities [s, B, A] of the tokens of some students, and which these are, to their losses [s].
            active: students that learn, bool [S]; the others stay as they are.
            learning_rate: of this step.
            now: the log-probabilities of the tokens, [S, B, A], where they are known; saves a forward pass.
        """
        if self._kernel is not None:
            every = _slope(loss, self.log_p(state, problem, tokens) if now is None else now, slice(0, len(state)))
            gradient = self._kernel.gradient(state, self.weights, self.tables, problem, tokens, every)
        else:
            parts = self._groups(len(state))
            gradient = torch.cat([self._gradient(state, problem, tokens, loss, part) for part in parts])
        optimiser = replace(self.config, learning_rate=learning_rate)
        self.step(state, gradient, active.to(state.dtype).unsqueeze(1), optimiser)

    def _gradient(
        self, state: Tensor, problem: Tensor, tokens: Tensor, loss: Callable[[Tensor, slice], Tensor], part: slice
    ) -> Tensor:
        """As the kernel's, of some of the students."""
        inputs, _ = self._inputs(problem[part], tokens[part], self.tables)
        return self.network.gradient(state[part], inputs, tokens[part], lambda log_p: _slope(loss, log_p, part))[1]


def _slope(loss: Callable[[Tensor, slice], Tensor], log_p: Tensor, part: slice) -> Tensor:
    """The derivatives of some students' losses by their log-probabilities [s, B, A]."""
    with torch.enable_grad():
        variable = log_p.detach().requires_grad_()
        return torch.autograd.grad(loss(variable, part).sum(), variable)[0]
