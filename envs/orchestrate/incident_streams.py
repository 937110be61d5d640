"""Streams of questions about incidents: what the worlds of all investigators share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, AttemptResult, Sizes, State, TaskInfo
from kdgym.envs.orchestrate.investigation import PATHS, WANTED, Investigation, describe, tokens
from kdgym.random import fold, integers, uniform
from kdgym.tasks.base import Split
from kdgym.tasks.incidents import RELATIONS, Question, questions_of, solutions
from kdgym.tasks.incidents.schema import KINDS, kind_of

_FIRST_TRAINING_INCIDENT = 1000  # those below are for pretraining investigators
_STARTS = sorted({solution.start for solution in solutions()})
_CASE, _WHO, _ORDER = range(3)  # random streams
ADVICE_NUMBER = {path: number for number, path in enumerate(PATHS)}
_SAME_WANTED, _SAME_START = 0.5, 0.3  # similarity of two cues that agree in one thing; 1 if in both


class IncidentStreams:
    """A pool of incidents, and for every student of a population one of them and an order of its questions.

    Args:
        pool: "train" (incidents that no investigator was pretrained on) or "evaluation" (of the test split).
        incidents: how many different ones there are.
        tasks: questions in a stream; an incident that has fewer repeats them.

    Raises:
        ValueError: there is no such pool, or a number is below 1.
    """

    name = "Incidents"
    keys = tuple(".".join(wanted) for wanted in WANTED)
    advices = tuple(map(describe, PATHS))
    features = (*(f"asks for {key}" for key in keys), *(f"starts from {KINDS[start]}" for start in _STARTS))
    students = 1

    def __init__(self, pool: Literal["train", "evaluation"] = "train", incidents: int = 64, tasks: int = 24) -> None:
        if pool not in ("train", "evaluation"):
            raise ValueError(f"There is no pool {pool!r}; choose from train, evaluation.")
        if incidents < 1 or tasks < 1:
            raise ValueError(
                f"A pool of {incidents} incidents with {tasks} tasks each is empty; both must be 1 or more."
            )
        self._split: Split = "train" if pool == "train" else "test"
        self._offset = _FIRST_TRAINING_INCIDENT if pool == "train" else 0
        self._incidents, self.tasks = incidents, tasks
        self.layout = {"case": ((), torch.int64), "who": ((), torch.int64), "order": ((tasks,), torch.int64)}
        pairs = torch.cartesian_prod(torch.arange(len(_STARTS)), torch.arange(len(WANTED)))
        both = 1 - _SAME_WANTED - _SAME_START
        parts = [torch.eye(len(_STARTS))[pairs[:, 0]], torch.eye(len(WANTED))[pairs[:, 1]], torch.eye(len(pairs))]
        self.cues = torch.cat([p * w**0.5 for p, w in zip(parts, (_SAME_START, _SAME_WANTED, both), strict=True)], 1)
        said = round(sum(map(tokens, self.advices)) / len(self.advices))
        self.sizes = Sizes(verdict=1, guidance=said, note=said + 12, judgement=4)

    def begin(self, state: State, rows: Tensor, key: Tensor, anew: bool) -> None:
        """See `World.begin`."""
        case = self._offset + integers(fold(key, _CASE), 1, self._incidents)[:, 0]
        state["case"][rows] = case
        if anew:
            state["who"][rows] = integers(fold(key, _WHO), 1, self.students)[:, 0]
        count = torch.tensor([len(questions_of(self._split, index)) for index in case.tolist()])
        noise = uniform(fold(key, _ORDER), int(count.max()))
        noise[torch.arange(noise.shape[1]) >= count[:, None]] = 2.0
        turn = torch.arange(self.tasks) % count[:, None]
        state["order"][rows] = noise.argsort(dim=-1, stable=True).gather(1, turn)

    def impossible(self, state: State, part: slice | Tensor) -> str:
        """See `World.impossible`."""
        case, who, order = (state[name][part] for name in ("case", "who", "order"))
        for name, value, least, number in (
            ("case", case, self._offset, self._incidents),
            ("who", who, 0, self.students),
        ):
            if ((value < least) | (value >= least + number)).any():
                return name
        count = torch.tensor([len(questions_of(self._split, index)) for index in case.tolist()])
        return "order" if ((order < 0) | (order >= count[:, None])).any() else ""

    def text(self, state: State, rows: Tensor, number: Tensor) -> list[str]:
        """See `World.text`."""
        return [case.question.text for case in self._cases(state, rows, number)[1]]

    def plausible_advice(self, state: State, rows: Tensor, number: Tensor) -> list[list[int]]:
        """See `World.plausible_advice`: paths from the kind of entity the question starts from to the kind it asks for."""
        ends = [(path[0], path[-1]) for path in PATHS]
        found = []
        for case in self._cases(state, rows, number)[1]:
            first, wanted = RELATIONS[case.solution[0]], case.question.wanted
            start = kind_of(first.table, first.source)
            plausible = [
                number
                for number, (begin, end) in enumerate(ends)
                if kind_of(RELATIONS[begin].table, RELATIONS[begin].source) == start
                and (RELATIONS[end].table, RELATIONS[end].target) == wanted
            ]
            found.append(plausible)
        return found

    def question(self, case: int, number: int) -> Question:
        """A question of an incident."""
        return questions_of(self._split, case)[number]

    def _cases(self, state: State, rows: Tensor, number: Tensor) -> tuple[Tensor, list[Investigation]]:
        """The investigators, int64 [n], and their tasks."""
        place = number.clamp(max=self.tasks - 1)
        cases, orders = state["case"][rows].tolist(), state["order"][rows, place].tolist()
        found = [Investigation(self._split, c, self.question(c, o)) for c, o in zip(cases, orders, strict=True)]
        return state["who"][rows], found

    def _task_info(self, cases: list[Investigation], uncertainty: Tensor) -> TaskInfo:
        questions = [case.question for case in cases]
        wanted = torch.tensor([WANTED.index(question.wanted) for question in questions])
        start = torch.tensor([_STARTS.index(kind_of(q.hops[0].table, q.hops[0].source)) for q in questions])
        features = torch.cat([torch.eye(len(WANTED))[wanted], torch.eye(len(_STARTS))[start]], 1)
        size = torch.tensor([tokens(question.text) for question in questions]).double()
        return TaskInfo(features, wanted, start * len(WANTED) + wanted, uncertainty, size)


def result_of(attempts: Sequence[Any], scores: list[float], own_advice: list[int]) -> AttemptResult:
    """The result of attempts with a ``case``, a ``log`` and what was ``spent``."""
    return AttemptResult(
        score=torch.tensor(scores, dtype=torch.float64),
        best_advice=torch.tensor(
            [NO_ADVICE if s == 1 else ADVICE_NUMBER[a.case.solution] for s, a in zip(scores, attempts, strict=True)]
        ),
        own_advice=torch.tensor(own_advice),
        log=[attempt.log for attempt in attempts],
        **{name: torch.tensor([a.spent[name] for a in attempts], dtype=torch.float64) for name in attempts[0].spent},
    )
