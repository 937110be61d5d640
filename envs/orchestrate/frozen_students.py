"""The protocol of a world: what the Orchestrate family needs of a task and the frozen students who work on it.

The students' weights never change. What may help them is *advice*: an entry of a small vocabulary that a supervisor can say or
a note can hold, given by its number. A world has tasks, lets students attempt them with and without advice, and tells the best
advice after an attempt. The supervisor's errors and all costs are the family's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

NO_ADVICE = -1  # in place of an advice's number


class State(Protocol):
    """The population's state: a field's tensor by its name, one row a student (`kdgym.core.fields.Fields`)."""

    def __getitem__(self, name: str) -> Tensor:
        """A view [S, ...] that may be written to."""


@dataclass(frozen=True)
class Sizes:
    """Tokens that an answer of each kind takes.

    Attributes:
        verdict: "valid" or "invalid".
        guidance: a supervisor's advice.
        note: a note of the memory.
        judgement: a judge's score.
    """

    verdict: int
    guidance: int
    note: int
    judgement: int


@dataclass(frozen=True)
class TaskInfo:
    """What is known of the tasks that n students are about to do.

    Attributes:
        features: observations of each, in [0, 1], float32 [n, F].
        key: kind of the task, by which history is kept, int64 [n], index into the world's ``keys``.
        cue: by which notes are kept, int64 [n], row of the world's ``cues``.
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
        best_advice: that an all-knowing supervisor would give, int64 [n]; `NO_ADVICE` if the plan is right.
        said: the plans in words.
    """

    written: Tensor
    best_advice: Tensor
    said: list[str]


@dataclass(frozen=True)
class AttemptResult:
    """One attempt of n students at their tasks.

    Attributes:
        score: of the answer, in [0, 1], float64 [n]; success is a score of 1.
        read, written: tokens of the student, float64 [n]; written is what a supervisor or judge has to read.
        calls, returned: calls of tools, and tokens that they returned (part of ``read``), float64 [n].
        checks, corrections: steps that a supervisor checked, and corrected, float64 [n]; 0 without one.
        best_advice: that an all-knowing supervisor would give after this attempt, int64 [n]; `NO_ADVICE` if it was right.
        own_advice: advice that the attempt itself followed, to be noted if it went well, int64 [n]; or `NO_ADVICE`.
        log: one list of events a student, JSON-serialisable, for people to read.
    """

    score: Tensor
    read: Tensor
    written: Tensor
    calls: Tensor
    returned: Tensor
    checks: Tensor
    corrections: Tensor
    best_advice: Tensor
    own_advice: Tensor
    log: list[list[dict[str, Any]]] = field(repr=False)


class World(Protocol):
    """Tasks and frozen students; rows of ``state`` are students in the middle of their stream of tasks.

    Attributes:
        name, edition: of the world; another edition gives other scores.
        tasks: length of a stream.
        keys: names of the kinds of tasks, by number.
        cues: unit vectors, float32 [C, D]; their scalar products are the similarities of notes and tasks.
        advices: the text of each advice, A of them.
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

    def impossible(self, state: State, part: slice | Tensor) -> str:
        """Which of these students' own fields, restored from a file, holds what this world does not have; ``""`` if none."""

    def task_info(self, state: State, rows: Tensor, number: Tensor) -> TaskInfo:
        """The tasks ``number``, int64 [n], of the students ``rows``; the last one again after the last."""

    def text(self, state: State, rows: Tensor, number: Tensor) -> list[str]:
        """The tasks ``number``, int64 [n], of the students ``rows`` in words."""

    def plausible_advice(self, state: State, rows: Tensor, number: Tensor) -> list[list[int]]:
        """For each task the advices that fit it, whatever the student; indices into ``advices``."""

    def plan(self, state: State, rows: Tensor, number: Tensor, note: Tensor, key: Tensor) -> Plan:
        """Students' plans for their tasks, given a note (advice from memory, or `NO_ADVICE`), int64 [n]."""

    def attempt(
        self,
        state: State,
        rows: Tensor,
        number: Tensor,
        note: Tensor,
        advice: Tensor,
        key: Tensor,
        accuracy: Tensor | None = None,
    ) -> AttemptResult:
        """Let students attempt their tasks.

        Args:
            state: the population's state; read only.
            rows: students, int64 [n].
            number: of each one's task, int64 [n].
            note: advice from memory, int64 [n], or `NO_ADVICE`.
            advice: the supervisor's, int64 [n], or `NO_ADVICE`.
            key: of all random numbers, int64 [n].
            accuracy: float64 [n]. If given, a supervisor checks every step. With this probability its verdict is right,
                otherwise it is the opposite; a step found wrong is corrected.
        """
