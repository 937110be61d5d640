"""Tasks whose problems are texts: language models read these, and tiny students tokens, where they are short enough."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym.tasks.base import SPLITS, Pool, SentenceTask, Traits, pools_of
from kdgym.tasks.spelling import MOST_TOKENS, PADDING, Spelled, read_answer, spell_answer

_LOOKS = ("largest number", "words", "characters")


class SpelledTask(SentenceTask):
    """A task of K parts, a skill each. Its own token is the last of a problem, where the answer begins.

    Attributes:
        parts: the items of every skill.
        open_skills: bool [K], whether answers other than the listed one may be right; ``verify`` then decides.
    """

    parts: Sequence[Spelled]
    open_skills: Tensor

    def shorten(self, skill: str) -> str:
        """What a person can do where items of a skill are too long for tiny students, after "Choose"."""
        return "a student that is a language model, student='hf:...'"

    def arrange(self, splits: Sequence[npt.NDArray[np.int64]]) -> None:
        """Order the problems by skill and split, and give every skill's answers numbers.

        Args:
            splits: index into `SPLITS` of every item, for every part; none of the three is without items.
        """
        orders, solutions, answer_count = [], [], []
        self._answers: list[str] = []
        for part, split in zip(self.parts, splits, strict=True):
            orders.append(np.argsort(split, kind="stable"))
            number = {answer: i for i, answer in enumerate(dict.fromkeys(part.answers))}
            solutions.append(len(self._answers) + np.array([number[part.answers[i]] for i in orders[-1]]))
            self._answers += list(number)
            answer_count.append(len(number))
        counts = np.array([np.bincount(split, minlength=len(SPLITS)) for split in splits])
        self.pools = pools_of(counts)
        self.solution = torch.from_numpy(np.concatenate(solutions))
        self.skill_of = torch.from_numpy(np.repeat(np.arange(len(self.parts)), counts.sum(1)))
        self._place = np.concatenate(orders)  # of every problem within its part
        count = torch.tensor(answer_count)
        self.answer_pool = Pool(count.cumsum(0) - count, count)

    def row(self, problem: int) -> tuple[int, int]:
        """A problem's part, and its place there."""
        return int(self.skill_of[problem]), int(self._place[problem])

    def in_order(self, columns: Sequence[npt.NDArray[np.int64]]) -> Tensor:
        """What every part says of its items, a number each, in the order of problems: int64 [P]."""
        start = np.cumsum([0, *map(len, columns[:-1])])
        return torch.from_numpy(np.concatenate(columns)[start[self.skill_of.numpy()] + self._place])

    # --- tokens --------------------------------------------------------------------------------------------------

    @cached_property
    def _too_long(self) -> str:
        """What is too long to be spelled, and what to do; empty where nothing is."""
        for skill, part in zip(self.skills, self.parts, strict=True):
            for kind, most in MOST_TOKENS.items():
                if part.lengths[kind] > most:
                    return (
                        f"{skill.name} has a{'n' * (kind == 'answer')} {kind} of {part.lengths[kind]} tokens; tiny students "
                        f"take at most {most}. Choose {self.shorten(skill.name)}."
                    )
        return ""

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """Numbers of all tokens, 0 is padding; the last ones are the skills' own."""
        prompts = (token for part in self.parts for token in part.tokens)
        answers = (token for answer in self._answers for token in spell_answer(answer, self._common))
        skills = (f"<{skill.name}>" for skill in self.skills)
        return {name: i for i, name in enumerate(dict.fromkeys([PADDING, *prompts, *answers, *skills]))}

    @cached_property
    def _common(self) -> set[str]:
        return {text for part in self.parts for text in part.common}

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        """See `Task`.

        Raises:
            ValueError: problems or answers are too long for students that read tokens.
        """
        if self._too_long:
            raise ValueError(self._too_long)
        return len(self._tokens)

    @cached_property
    def prompt(self) -> Tensor:  # type: ignore[override]
        """See `Task`. What is too long to be spelled is one token, its number; language models read the text."""
        if self._too_long:
            return torch.arange(len(self.solution)).unsqueeze(1)
        width = max(part.prompt.shape[1] for part in self.parts)
        prompt = torch.zeros(len(self.solution), width + 1, dtype=torch.int64)
        for k, part in enumerate(self.parts):
            mine = self.skill_of == k
            rows = torch.tensor([self._tokens[token] for token in part.tokens])[part.prompt.long()]
            prompt[mine, width - rows.shape[1] : -1] = rows[torch.from_numpy(self._place)[mine]]
            prompt[mine, -1] = self._tokens[f"<{self.skills[k].name}>"]
        return prompt

    @cached_property
    def answer(self) -> Tensor:  # type: ignore[override]
        """See `Task` and `prompt`."""
        if self._too_long:
            return torch.arange(len(self._answers)).unsqueeze(1)
        rows = [[self._tokens[token] for token in spell_answer(answer, self._common)] for answer in self._answers]
        width = max(map(len, rows))
        return torch.tensor([row + [0] * (width - len(row)) for row in rows])

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Task.judge`; other right answers than the listed one are read as text."""
        right = super().judge(problem, tokens)
        if not self.free_form:
            return right
        is_open = self.open_skills.to(problem.device)[self.skill_of.to(problem.device)[problem]]
        for place in (~right & is_open).nonzero().tolist():
            at = tuple(place)
            right[at] = self.verify(int(problem[at]), self.write_tokens(tokens[at]))
        return right

    def answer_text(self, answer: int) -> str:
        return self._answers[answer]

    def write_tokens(self, tokens: Tensor) -> str:
        if self._too_long:
            return self._answers[int(tokens[0])]
        names = list(self._tokens)
        return read_answer([names[token] for token in tokens.tolist()]) or "(nothing)"

    # --- subskills -----------------------------------------------------------------------------------------------

    def traits(self) -> tuple[Traits, ...]:
        """What the texts of items look like."""
        looks = torch.zeros(len(self.solution), len(_LOOKS), dtype=torch.float64)
        for k, part in enumerate(self.parts):
            mine = self.skill_of == k
            table = torch.tensor([_looks_of(problem) for problem in part.problems], dtype=torch.float64)
            looks[mine] = table[torch.from_numpy(self._place)[mine]]
        return (Traits([list(_LOOKS)] * len(self.parts), looks),)


def _looks_of(problem: str) -> tuple[float, float, float]:
    return max((float(n) for n in re.findall(r"[0-9]{1,15}", problem)), default=0.0), len(problem.split()), len(problem)
