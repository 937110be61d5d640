"""Scratchpad problems with a hint, in one token, of which kind of error to avoid.

Problem ``hint * P + p`` is problem p of `kdgym.tasks.scratchpad.Scratchpad`, P problems in all, with hint number ``hint`` - 1
after it; those below P have none. A hint tells nothing about the solution: it is guidance on the level of principles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym.tasks.scratchpad import ERRORS, Scratchpad

HINTS = ERRORS[1:]  # all but malformed answers, which are not habitual


class HintedScratchpad(Scratchpad):
    """The task. Arguments, attributes and errors are those of `Scratchpad`; methods take problems without their hint.

    Attributes:
        problems: P.
        kinds: names of the kinds of problems, by number of steps and first operator.
    """

    name = "HintedScratchpad"

    def _build(self) -> None:
        super()._build()
        self.problems = len(self.prompt)
        none = torch.full((self.problems, 1), self.padding)
        hints = [none, *(torch.full_like(none, self.vocabulary + i) for i in range(len(HINTS)))]
        self.prompt = torch.cat([torch.cat([self.prompt, hint], dim=1) for hint in hints])
        self.solution = self.solution.repeat(len(hints))
        self.vocabulary += len(HINTS)
        self._symbols += [f"({hint}!)" for hint in HINTS]
        self.kinds = tuple(f"{n} step{'s' if n > 1 else ''}, {s}" for n in range(1, self.steps + 1) for s in "+-")

    def hinted(self, problem: Tensor, hint: Tensor) -> Tensor:
        """Problems int64 [...] with hints int64 [...], index into `HINTS`, -1 for none."""
        return problem + (hint + 1) * self.problems

    def kind(self, problem: Tensor) -> Tensor:
        """Index into ``kinds``, int64 [...]."""
        first = self.prompt.to(problem.device)[problem, 2]
        return 2 * (self.number_of_steps.to(problem.device)[problem] - 1) + (first == self.minus).long()
