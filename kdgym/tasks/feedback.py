"""What a teacher says to an attempt at a `Scratchpad` problem: tokens that stand in the attempt from a certain place on.

After feedback the student goes on writing where the feedback ends. Feedback on a mistake begins at the first wrong step: what
the student wrote before it is kept, the wrong step and what followed is taken back. ThinkTuning (RRV et al., EMNLP 2025) gives
feedback in words, as one of four reflective behaviours. A student of twelve thousand weights reads no words, so here are four
kinds of tokens; which behaviour each stands for is our reading, not the paper's.

| kind | tokens | stands for |
|---|---|---|
| ``mark`` | ``?`` in front of the first wrong step: try this one again | self-conflict |
| ``next_step`` | the right step in its place, and as many more as the length says | self-critique |
| ``prefix`` | the first steps, as many as the length says, whatever the student wrote | self-agreement |
| ``full_solution`` | everything | self-consultancy |

Language models read words. Their feedback stands behind the whole attempt, mistakes included, and is what people wrote to help
with the problem (`kdgym.tasks.base.Task.advice`), as many sentences as the length says:

| kind | text | stands for |
|---|---|---|
| ``hint`` | hints at this problem | self-conflict |
| ``concept`` | theorems that it needs | self-agreement |
| ``next_step`` | the first steps of the solution, since nobody can say where prose first goes wrong | self-critique |
| ``full_solution`` | the whole solution in place of the attempt | self-consultancy |

Somebody who comments in words of its own is told for which of the four it was asked (`BEHAVIOURS`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.scratchpad import STEP, Scratchpad

TEXT_KINDS = ("hint", "concept", "next_step", "full_solution")
BEHAVIOURS = {
    "hint": "self-conflict",
    "concept": "self-agreement",
    "next_step": "self-critique",
    "full_solution": "self-consultancy",
}
KINDS = ("mark", "next_step", "prefix", "full_solution")
WHICH = ("wrong", "mixed", "random", "stuck")


@dataclass(frozen=True)
class GivenFeedback:
    """Attempts as far as they stand after the teacher spoke.

    Attributes:
        tokens: int64 [S, B, A]; what follows after ``given`` is the student's to write.
        own: leading tokens that are the student's, int64 [S, B].
        given: leading tokens in all; as many as ``own`` where the teacher had nothing to say.
    """

    tokens: Tensor
    own: Tensor
    given: Tensor

    @property
    def mask(self) -> Tensor:
        """The teacher's tokens, bool [S, B, A]."""
        place = torch.arange(self.tokens.shape[2], device=self.tokens.device)
        return (place >= self.own.unsqueeze(2)) & (place < self.given.unsqueeze(2))


def choose_attempts(key: Tensor, right: Tensor, fraction: Tensor, which: Tensor, asked: Tensor | None = None) -> Tensor:
    """Which attempts get feedback: in every group the same fraction, as far as there are candidates.

    Args:
        key: of the random order, int64 [S].
        right: verdicts, bool [S, P, G].
        fraction: of the attempts of a group, [S]; rounded to whole attempts.
        which: index into `WHICH`, int64 [S]. ``wrong``: wrong attempts; ``mixed``: right and wrong ones by turns; ``random``:
            any; ``stuck``: attempts of groups in which nobody is right, as Scaf-GRPO (2025) gives hints.
        asked: attempts that may be chosen at all, bool [S, P, G]; all, if left out.

    Returns:
        bool [S, P, G].
    """
    _, p, g = right.shape
    chance = random.uniform(key, p * g).view_as(right)
    among_its_like = (chance + right).argsort(2).argsort(2) - right * (~right).sum(2, keepdim=True)
    rank = torch.where((which == WHICH.index("mixed")).view(-1, 1, 1), among_its_like + 0.5 * right, chance)
    anybody = torch.ones_like(right)
    allowed = torch.stack([~right, anybody, anybody, ~right.any(2, keepdim=True) & anybody])
    candidate = allowed[which, torch.arange(len(right), device=right.device)]
    if asked is not None:
        candidate = candidate & asked
    order = rank.masked_fill(~candidate, torch.inf).argsort(dim=2, stable=True).argsort(2)
    return candidate & (order < torch.round(fraction * g).view(-1, 1, 1))


def give_feedback(
    task: Scratchpad,
    problem: Tensor,
    tokens: Tensor,
    right: Tensor,
    kind: Tensor,
    length: Tensor,
    solution: Tensor | None = None,
) -> GivenFeedback:
    """What the teacher writes into attempts.

    Args:
        task: the task.
        problem: int64 [S, B].
        tokens: the attempts, int64 [S, B, A].
        right: verdicts, bool [S, B]. A right attempt has no wrong step: ``mark`` and ``next_step`` say nothing.
        kind: index into `KINDS`, int64 [S].
        length: steps of ``next_step`` and ``prefix``, int64 [S]; more than a solution has are all it has.
        solution: what the teacher takes for the solutions, tokens int64 [S, B, A]; the right ones if left out. A step is
            wrong to it that is not in there.
    """
    if solution is None:
        solution = task.answer.to(tokens.device)[problem]
    whole = STEP * task.number_of_steps.to(tokens.device)[problem]  # tokens of all steps; one more ends the answer
    place = task.departure(tokens, solution)
    wrong = (place // STEP * STEP).clamp_max(whole)  # a solution that only lacks its end is wrong there
    asked = STEP * length.unsqueeze(1)
    silent = torch.full_like(place, tokens.shape[2])
    shown = torch.minimum(wrong + asked, torch.maximum(whole, wrong + 1))
    begin = torch.stack([wrong, wrong, torch.zeros_like(wrong), torch.zeros_like(wrong)])
    end = torch.stack([wrong + 1, shown, torch.minimum(asked, whole), whole + 1])
    student = torch.arange(len(kind), device=kind.device)
    quiet = right & (kind < KINDS.index("prefix")).unsqueeze(1)
    own = torch.where(quiet, silent, begin[kind, student])
    given = torch.where(quiet, silent, end[kind, student])
    written = GivenFeedback(solution, own, given).mask
    taught = torch.where(written, solution, tokens)
    again = (torch.arange(tokens.shape[2], device=tokens.device) == wrong.unsqueeze(2)) & (wrong < whole).unsqueeze(2)
    marked = written & again & (kind == KINDS.index("mark")).view(-1, 1, 1)
    return GivenFeedback(torch.where(marked, task.mark, taught), own, given)
