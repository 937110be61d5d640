"""What is taught: the base of every task.

A task is a finite table of *problems*, grouped into *skills* and into three *splits*, and a table of *answers*. A
problem is an integer id, an answer is an integer id, and a lesson is a pair of id arrays: that is all an environment
handles. A tiny student reads a problem as tokens, a language model reads it as text.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_SHARES = (0.70, 0.15, 0.15)  # of the problems, unless a task says otherwise
_WORD = re.compile(r"(?P<number>\d+(?:\.\d+)?)|[^\W\d_]+")


@dataclass(frozen=True)
class Skill:
    """One thing a student can be good at.

    Attributes:
        name: short identifier, unique within the task.
        description: one sentence for a person.
        prerequisites: names of the skills this one builds on.
    """

    name: str
    description: str
    prerequisites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Misconception:
    """A wrong rule that students follow where a right one is wanted.

    Attributes:
        name: short identifier, unique within the task.
        description: one sentence for a person.
        wrong: the rule, for every skill it is followed in: arrays of what the task says problems consist of -> answers.
    """

    name: str
    description: str
    wrong: Mapping[str, Callable[..., npt.NDArray[np.int64]]] = field(repr=False, hash=False)

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of the skills in which the rule is followed."""
        return tuple(self.wrong)


@dataclass(frozen=True)
class Pool:
    """Where each skill's problems of one split lie: ids ``start[k] .. start[k] + count[k] - 1`` (int64, shape [K])."""

    start: Tensor
    count: Tensor


def splits_at(place: npt.ArrayLike, shares: Sequence[float] = SPLIT_SHARES) -> npt.NDArray[np.int64]:
    """Indices into `SPLITS` of problems whose hashes are these numbers in [0, 1); of the same shape."""
    return np.asarray(np.searchsorted(np.cumsum(shares)[:-1], place, side="right"))


def pools_of(count: npt.NDArray[np.int64]) -> dict[Split, Pool]:
    """Where problems lie that are ordered by skill and then by split; ``count`` [K, 3] says how many there are."""
    start = (np.cumsum(count) - count.ravel()).reshape(count.shape)
    columns = zip(SPLITS, start.T.copy(), count.T.copy(), strict=True)
    return {split: Pool(torch.from_numpy(first), torch.from_numpy(number)) for split, first, number in columns}


def words_of(text: str) -> list[str]:
    """A text's words and numbers, whatever their case, spelling in Unicode and punctuation: ``"12.50 Dogs!"``: 12.5, dogs."""
    found = _WORD.finditer(unicodedata.normalize("NFKC", text).casefold())
    return [str(Decimal(word[0]).normalize()) if word["number"] else word[0] for word in found]


def number_of_form(form: str, picture: bytes = b"") -> int:
    """63 bits of a hash, for `Task.forms`."""
    return int.from_bytes(hashlib.sha256(form.encode() + b"\0" + picture).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Traits:
    """What problems differ in, as far as it tells subskills apart.

    Attributes:
        names: of F traits, for every skill: [K][F].
        value: of every problem, [P, F].
    """

    names: list[list[str]]
    value: Tensor


class Posed(NamedTuple):
    """A problem of a teacher's own making, as a student reads it.

    Attributes:
        prompt: its tokens, int64 [T].
        image: its patches, uint8 [patches, pixels]; None for a task without images.
        solution: id of its right answer.
        text: its words, as in `Task.text`.
        skill: what it asks for, the skill's place among the task's.
    """

    prompt: Tensor
    image: Tensor | None
    solution: int
    text: str
    skill: int


class UnreadableError(ValueError):
    """A teacher's problem or answer that cannot be used.

    Args:
        reason: ``"problem"`` or ``"answer"`` (it makes no sense to the task), or ``"held_out"`` (not for training).
        message: what was given, and what is allowed.
    """

    def __init__(self, reason: Literal["problem", "answer", "held_out"], message: str) -> None:
        super().__init__(message)
        self.reason: Literal["problem", "answer", "held_out"] = reason


class Task(ABC):
    """A frozen, versioned set of skills, problems and one exact verifier.

    Problems have one right answer each and no images, unless a task says otherwise.

    Attributes:
        name: the task's name in environment ids.
        version: bumped whenever a problem, a split or a verdict changes.
        edition: what else the problems depend on, such as the version of a library that makes them.
        skills: the K skills, in the order of every per-skill array.
        pools: where the problems of every split lie, see `pools_of`.
        prompt: int64 [P, T], the tokens of every problem.
        solution: int64 [P], the id of every problem's right answer.
        answer: int64 [N, A], the tokens of every answer.
        skill_of: int64 [P], the skill of every problem.
        vocabulary: number of distinct tokens.
        answer_pool: where the answers that make sense for each skill lie among the N answers.
        scene: int64 [P], the image of every problem; None for a task without images.
        scenes: uint8 [images, patches, pixels]; None for a task without images.
        pixel_scale: what pixels are multiplied by.
        free_form: whether answers other than the listed solution may be right; then ``judge`` decides.
        misconceptions: the wrong rules that are known of this task.
    """

    name: str
    version: int
    edition: str = ""
    skills: tuple[Skill, ...]
    pools: Mapping[Split, Pool]
    prompt: Tensor
    solution: Tensor
    answer: Tensor
    skill_of: Tensor
    vocabulary: int
    answer_pool: Pool
    scene: Tensor | None = None
    scenes: Tensor | None = None
    pixel_scale: float = 1.0
    free_form: bool = False
    misconceptions: tuple[Misconception, ...] = ()

    def pool(self, split: Split) -> Pool:
        """Problems of ``split``; none has a twin (see `forms`) in another split."""
        return self.pools[split]

    def forms(self) -> Tensor:
        """Canonical forms of all problems, as numbers: int64 [P, F], negative where a problem has fewer than F.

        Problems that share a form are twins: commuted, reordered or punctuated otherwise, say. Forms may be too coarse, never
        too fine. Here one: the words and numbers of the text in alphabetical order, and the picture.
        """
        texts = (" ".join(sorted(words_of(self.text(problem)))) for problem in range(len(self.solution)))
        if self.scene is None or self.scenes is None:
            return torch.tensor([[number_of_form(text)] for text in texts])
        pictures = (self.scenes[scene].numpy().tobytes() for scene in self.scene.tolist())
        return torch.tensor([[number_of_form(*both)] for both in zip(texts, pictures, strict=True)])

    def traits(self) -> tuple[Traits, ...]:
        """What subskills are told apart by, the most telling first: here the tokens of the prompts, which a student sees."""
        names = [f"token {place}" for place in range(self.prompt.shape[1])]
        return (Traits([names] * len(self.skills), self.prompt),)

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """Verdicts on answers given as tokens: problem ids int64 [...], tokens int64 [..., A] -> bool [...]."""
        right = self.answer.to(tokens.device)[self.solution.to(problem.device)[problem]]
        return (tokens == right).all(-1)

    def mistaken(self, misconception: Misconception) -> Tensor:
        """What a student with a misconception answers to every problem, as tokens, int64 [P, A].

        The solution where the rule is not followed or finds no answer; a wrong rule may also happen to be right.
        """
        return self.answer[self.solution]

    @abstractmethod
    def text(self, problem: int) -> str:
        """The problem as a person or a language model reads it."""

    @abstractmethod
    def answer_text(self, answer: int) -> str:
        """The canonical text of an answer."""

    @abstractmethod
    def verify(self, problem: int, text: str) -> bool:
        """Whether ``text`` is the right answer to ``problem``: exact, no partial credit."""

    def advice(self, problem: int, kind: str) -> list[str]:
        """What people wrote to help with a problem, sentence by sentence, the first to be said first; empty if nothing.

        Here nothing but the solution.

        Args:
            problem: its id.
            kind: one of `kdgym.tasks.feedback.TEXT_KINDS`.
        """
        return [self.answer_text(int(self.solution[problem]))] if kind == "full_solution" else []

    @abstractmethod
    def write_problem(self, problem: int) -> str | dict[str, Any]:
        """A problem of the train split as JSON that `read_problem` reads."""

    @abstractmethod
    def read_problem(self, problem: str | dict[str, Any]) -> Posed:
        """A problem that a teacher wrote.

        Raises:
            UnreadableError: it is none of this task's, or it is held out for examinations.
        """

    @abstractmethod
    def write_tokens(self, tokens: Tensor) -> str:
        """A student's answer, int64 [A], as text; anything a student may say has one."""

    def plain_answer(self, text: str) -> str:
        """The common form of all spellings of one answer: here, without blanks around it."""
        return text.strip(" \t\r\n")

    @cached_property
    def _by_answer(self) -> dict[str, int]:
        return {self.plain_answer(self.answer_text(answer)): answer for answer in reversed(range(len(self.answer)))}

    def read_answer(self, text: str) -> Tensor:
        """The tokens of an answer that a teacher wrote, int64 [A]; here of one with the same `plain_answer`.

        Raises:
            UnreadableError: no answer of this task is written like that.
        """
        found = self._by_answer.get(self.plain_answer(text))
        if found is None:
            raise UnreadableError(
                "answer", f"{text[:80]!r} is not an answer of this task; one is wanted like {self.answer_text(0)!r}."
            )
        return self.answer[found]


class SentenceTask(Task):
    """A `Task` whose problems are sentences, which teachers may write as well."""

    def plain(self, sentence: str) -> str:
        """What two ways of writing one problem have in common: here, all but upper case and blanks."""
        return " ".join(sentence.lower().split())

    @cached_property
    def _by_sentence(self) -> dict[str, int]:
        # Of several skills that ask the same, the first: simpler ones come before those that build on them.
        return {self.plain(self.text(problem)): problem for problem in reversed(range(len(self.solution)))}

    def write_problem(self, problem: int) -> str:
        """See `Task.write_problem`."""
        return self.text(problem)

    def read_problem(self, problem: str | dict[str, Any]) -> Posed:
        """A sentence of `text`, or one with the same `plain` form; see `Task.read_problem`."""
        found = self._by_sentence.get(self.plain(problem)) if isinstance(problem, str) else None
        if found is None:
            raise UnreadableError(
                "problem", f"{str(problem)[:80]!r} is no problem of this task; write e.g. {self.text(0)!r}"
            )
        train, skill = self.pool("train"), int(self.skill_of[found])
        if not train.start[skill] <= found < train.start[skill] + train.count[skill]:
            raise UnreadableError("held_out", f"{problem!r} is kept for examinations; ask for something else.")
        return Posed(self.prompt[found], None, int(self.solution[found]), self.text(found), skill)
