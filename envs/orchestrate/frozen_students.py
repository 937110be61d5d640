"""A world where frozen students work on tasks: what the Orchestrate family needs of one.

The students' weights never change. What may help them is *advice*, a small vocabulary of things that a teacher can say or a
note can remember, each with a number. A world knows its tasks, lets students attempt them with and without advice, and says
what an all-knowing teacher would have advised; who makes mistakes and what everything costs is decided by the family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

NOTHING = -1  # no advice


class State(Protocol):
    """The population's state: a field's tensor by its name, one row a student (`kdgym.core.fields.Fields`)."""

    def __getitem__(self, name: str) -> Tensor:
        """A view [S, ...] that may be written to."""


@dataclass(frozen=True)
class Sizes:
    """Tokens of what is said, beside what is read for it.

    Attributes:
        verdict: "valid" or "invalid".
        guidance: a teacher's advice.
        note: a note of the memory.
        judgement: a judge's score.
    """

    verdict: int
    guidance: int
    note: int
    judgement: int


@dataclass(frozen=True)
class Duty:
    """The tasks that n students are about to do.

    Attributes:
        features: what a teacher can see of each, in [0, 1], float32 [n, F].
        key: under which history is kept, int64 [n], below the world's ``keys``.
        cue: under which notes are kept, int64 [n], row of the world's ``cues``.
        uncertainty: of the student before it begins, in [0, 1], float32 [n].
        tokens: of the task as a student reads it, float64 [n].
    """

    features: Tensor
    key: Tensor
    cue: Tensor
    uncertainty: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Plan:
    """How n students would go about their tasks.

    Attributes:
        written: tokens of the plan, float64 [n].
        remedy: what an all-knowing teacher would advise, int64 [n]; `NOTHING` if the plan is right.
        said: the plans in words.
    """

    written: Tensor
    remedy: Tensor
    said: list[str]


@dataclass(frozen=True)
class Work:
    """One attempt of n students at their tasks.

    Attributes:
        score: of the answer, in [0, 1], float64 [n]; success is a score of 1.
        read, written: tokens of the student, float64 [n]; written is what a teacher or judge has to read.
        calls, returned: calls of tools, and tokens that they returned (part of ``read``), float64 [n].
        checks, corrections: steps that a teacher checked, and corrected, float64 [n]; 0 without a teacher beside.
        remedy: what an all-knowing teacher would advise after seeing this attempt, int64 [n]; `NOTHING` if it was right.
        way: the advice that the attempt itself amounts to, to be remembered if it went well, int64 [n]; or `NOTHING`.
        log: one list a student of what happened, JSON-serialisable, for people to read.
    """

    score: Tensor
    read: Tensor
    written: Tensor
    calls: Tensor
    returned: Tensor
    checks: Tensor
    corrections: Tensor
    remedy: Tensor
    way: Tensor
    log: list[list[dict[str, Any]]] = field(repr=False)


class World(Protocol):
    """Tasks and frozen students; rows of ``state`` are students in the middle of their stream of tasks.

    Attributes:
        name, edition: what it is; another edition has other numbers.
        tasks: length of a stream.
        keys: kinds of tasks that history is kept of, in the order of their numbers.
        cues: similarity of notes is the scalar product of these unit vectors, float32 [C, D].
        advices: what each advice says, for people to read; its length is A.
        features: names of a task's features.
        sizes: see `Sizes`.
        layout: the world's own state fields.
    """

    @property
    def name(self) -> str: ...
    @property
    def edition(self) -> str: ...
    @property
    def tasks(self) -> int: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def cues(self) -> Tensor: ...
    @property
    def advices(self) -> tuple[str, ...]: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def sizes(self) -> Sizes: ...
    @property
    def layout(self) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]: ...

    def begin(self, state: State, rows: Tensor, key: Tensor, anew: bool) -> None:
        """Start streams for ``rows``, int64 [n], with random streams ``key``, int64 [n]; if ``anew``, of other students."""

    def duty(self, state: State, rows: Tensor, number: Tensor) -> Duty:
        """The tasks ``number``, int64 [n], of the students ``rows``; the last one again after the last."""

    def text(self, state: State, rows: Tensor, number: Tensor) -> list[str]:
        """The tasks ``number``, int64 [n], of the students ``rows`` in words."""

    def fitting(self, state: State, rows: Tensor, number: Tensor) -> list[list[int]]:
        """For each task the advices that somebody who knows no student might give, numbers into ``advices``."""

    def plan(self, state: State, rows: Tensor, number: Tensor, note: Tensor, key: Tensor) -> Plan:
        """How students would go about their tasks, given a note (advice from memory, or `NOTHING`), int64 [n]."""

    def attempt(
        self,
        state: State,
        rows: Tensor,
        number: Tensor,
        note: Tensor,
        advice: Tensor,
        key: Tensor,
        accuracy: Tensor | None = None,
    ) -> Work:
        """Let students attempt their tasks.

        Args:
            state: the population's state; read only.
            rows: students, int64 [n].
            number: of each one's task, int64 [n].
            note: what the memory says, int64 [n], or `NOTHING`.
            advice: what the teacher says, int64 [n], or `NOTHING`.
            key: of all random numbers, int64 [n].
            accuracy: if given, float64 [n], a teacher stands beside and checks every step: with this probability it sees
                whether the step is right, and corrects what it takes for wrong (a check that errs finds fault with a right
                step, or lets a wrong one pass).
        """
