"""Incidents investigated by small frozen networks: a `kdgym.envs.orchestrate.frozen_students.World`.

A stream is one security incident and questions about it (`kdgym.tasks.incidents`). The student is one of sixteen networks that
query the incident's database move by move (`kdgym.envs.orchestrate.investigation`) and answer with an entity that they found.
They were pretrained once (`kdgym.envs.orchestrate.investigator_pretraining`) and never learn again. Each has blind spots:
questions that it can answer with guidance and not alone.

Advice is a path of relations, from the start to the answer. Whether it is right depends on the question alone. Choosing among
the entities that each query returns is left to the student.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, AttemptResult, Plan, State, TaskInfo
from kdgym.envs.orchestrate.incident_streams import ADVICE_NUMBER, IncidentStreams, result_of
from kdgym.envs.orchestrate.investigation import (
    ANSWER,
    PATHS,
    QUERIES,
    VOCABULARY,
    Investigation,
    Move,
    Moves,
    RelationPath,
    describe,
    tokens,
)
from kdgym.random import fold, uniform
from kdgym.storage import load_tensors

EDITION = "0"
INVESTIGATORS = 16
TEMPERATURE = 1.0
FILE = Path(__file__).with_name("investigators.safetensors")
_FIRST_CHOICE, _CHECK, _SECOND_CHOICE = range(3)  # purposes of a step's random streams


class Policy:
    """Small networks that score moves, N at once: embeddings of a move's features added up, and two layers.

    Attributes:
        weights: ``table`` [VOCABULARY, N, H], ``hidden`` [N, H, H], ``bias`` [N, 1, H], ``out`` [N, H, 1].
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    @classmethod
    def draw(cls, width: int, rng: np.random.Generator) -> Policy:
        """Untrained networks."""
        n = INVESTIGATORS
        shapes = {"table": (VOCABULARY, n, width), "hidden": (n, width, width), "out": (n, width, 1)}
        scale = {"table": 0.3, "hidden": (2 / width) ** 0.5, "out": width**-0.5}
        drawn = {k: torch.from_numpy(rng.standard_normal(s)).float() * scale[k] for k, s in shapes.items()}
        return cls(drawn | {"bias": torch.zeros(n, 1, width)})

    def all_scores(self, features: Tensor) -> Tensor:
        """Every network's scores of moves [B, C, K]: [N, B, C]."""
        table = self.weights["table"]
        shape = features.shape[:2]
        hot = torch.zeros(math.prod(shape), VOCABULARY).scatter_(1, features.flatten(0, 1), 1.0)
        first = (hot @ table.flatten(1)).unflatten(1, table.shape[1:]).transpose(0, 1)
        scores: Tensor = self._head(first, slice(None)).unflatten(1, shape)
        return scores

    def scores(self, who: Tensor, features: Tensor) -> Tensor:
        """Scores that the networks ``who``, int64 [n], give moves, int64 [n, C, K]: [n, C]."""
        n, c, k = features.shape
        place = (features * INVESTIGATORS + who[:, None, None]).view(-1, k)
        first = F.embedding_bag(place, self.weights["table"].flatten(0, 1), mode="sum").view(n, c, -1)
        return self._head(first, who)

    def _head(self, first: Tensor, who: Tensor | slice) -> Tensor:
        hidden, bias, out = (self.weights[name][who] for name in ("hidden", "bias", "out"))
        score: Tensor = (torch.baddbmm(bias, first.relu(), hidden).relu() @ out).squeeze(-1)
        return score


@cache
def _pretrained() -> Policy:
    """The investigators that come with the package."""
    weights, header = load_tensors(FILE)
    if (header["edition"], header["vocabulary"]) != (EDITION, VOCABULARY):
        raise ValueError(
            f"{FILE} holds investigators of edition {header['edition']}; this is edition {EDITION}. "
            "Make them again: python -m kdgym.envs.orchestrate.investigator_pretraining"
        )
    return Policy({name: weights[name].float() for name in ("table", "hidden", "bias", "out")})


class _Attempt:
    """One student at one question: the investigation, its guidance, and its tokens."""

    def __init__(self, case: Investigation, note: RelationPath | None, advice: RelationPath | None) -> None:
        self.case, self.note, self.advice = case, note, advice
        self.log: list[dict[str, Any]] = []
        self.spent = dict.fromkeys(("read", "written", "calls", "returned", "checks", "corrections"), 0)
        self.spent["read"] = tokens(case.question.text)
        self.answer: int | None = None
        self.done = False

    def moves(self, struck: Move | None = None) -> Moves:
        """The moves there are; after a supervisor has struck one out, with the right path as advice."""
        advice = self.advice if struck is None else self.case.solution
        return self.case.moves(self.note, advice, struck)

    def is_right(self, move: Move) -> bool:
        return move in self.case.right_moves()

    def do(self, move: Move | None, struck: Move | None) -> None:
        """Make a move; None gives up."""
        entry: dict[str, Any] = {"step": len(self.log)}
        if struck is not None:
            entry["corrected"] = True
        if move is None or move[0] == ANSWER:
            self.answer, self.done = (None if move is None else move[1]), True
            entry |= {"answer": self.name, "score": self.score()}
            self.spent["written"] += tokens(self.name)
        else:
            sql, parameters, rows = self.case.ask(*move)
            returned = tokens("\n".join(" | ".join(map(str, row)) for row in rows))
            self.spent["written"] += tokens(" ".join((sql, *parameters)))
            self.spent["calls"] += 1
            self.spent["returned"] += returned
            self.spent["read"] += returned
            entry |= {"sql": sql, "parameters": list(parameters), "rows": [list(row) for row in rows[:3]]}
        self.log.append(entry)

    @property
    def name(self) -> str:
        """The answer's text; empty if it gave up."""
        return "" if self.answer is None else self.case.entities[self.answer].name

    def score(self) -> float:
        """The answer's score; an investigator that gives up cites the path to the entity it found last."""
        entities = self.case.entities
        chain = entities[-1 if self.answer is None else self.answer].path
        return self.case.question.score(self.name, [entities[number].name for number in chain])

    def path(self) -> int:
        """Number of the relation path it took to its answer, if that is one of them."""
        return NO_ADVICE if self.answer is None else ADVICE_NUMBER.get(self.case.entities[self.answer].chain, NO_ADVICE)


class IncidentWorld(IncidentStreams):
    """Streams of questions about incidents, and the small networks that answer them.

    Success, read and written tokens are those of the real texts: the question, SQL, rows and the answer, four characters a
    token. Students are independent of each other, up to rounding.

    Args:
        pool: "train" (incidents that no investigator was pretrained on) or "evaluation" (of the test split).
        incidents: how many different ones there are.
        tasks: questions in a stream; an incident that has fewer repeats them.

    Raises:
        ValueError: there is no such pool, or a number is below 1.
    """

    edition = EDITION
    students = INVESTIGATORS

    def __init__(self, pool: Literal["train", "evaluation"] = "train", incidents: int = 64, tasks: int = 24) -> None:
        super().__init__(pool, incidents, tasks)
        self._policy = _pretrained()

    def task_info(self, state: State, rows: Tensor, number: Tensor) -> TaskInfo:
        """See `World.task_info`; the uncertainty is the entropy of the first move, relative to the largest possible."""
        who, cases = self._cases(state, rows, number)
        probability, count = self._decide(who, [case.moves() for case in cases])
        entropy = torch.special.entr(probability).sum(-1) / count.clamp(min=2).log()
        return self._task_info(cases, entropy.float().clamp(0, 1))

    def plan(self, state: State, rows: Tensor, number: Tensor, note: Tensor, key: Tensor) -> Plan:
        """See `World.plan`: the relation a student would begin with; right if the solution begins with it."""
        who, cases = self._cases(state, rows, number)
        moves = [case.moves(path) for case, path in zip(cases, _paths(note), strict=True)]
        best = self._decide(who, moves)[0].argmax(-1).tolist()
        first = [int(options.relation[place]) for options, place in zip(moves, best, strict=True)]
        best_advice = [
            NO_ADVICE if relation == case.solution[0] else ADVICE_NUMBER[case.solution]
            for relation, case in zip(first, cases, strict=True)
        ]
        said = [describe((relation,)) for relation in first]
        return Plan(torch.tensor([*map(tokens, said)]).double(), torch.tensor(best_advice), said)

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
        """See `World.attempt`. A move found wrong is struck out and chosen anew, once, with the right path as advice."""
        who, cases = self._cases(state, rows, number)
        attempts = [_Attempt(*all) for all in zip(cases, _paths(note), _paths(advice), strict=True)]
        for step in range(QUERIES + 1):
            busy = [place for place, attempt in enumerate(attempts) if not attempt.done]
            if not busy:
                break
            streams = fold(key[busy], step)
            self._step(
                [attempts[place] for place in busy], who[busy], streams, None if accuracy is None else accuracy[busy]
            )
        return result_of(attempts, [attempt.score() for attempt in attempts], [attempt.path() for attempt in attempts])

    def _step(self, attempts: Sequence[_Attempt], who: Tensor, key: Tensor, accuracy: Tensor | None) -> None:
        """One move of every student."""
        chosen = self._choose(who, [attempt.moves() for attempt in attempts], fold(key, _FIRST_CHOICE))
        struck: list[Move | None] = [None] * len(attempts)
        if accuracy is not None:
            sees = (uniform(fold(key, _CHECK), 1)[:, 0] < accuracy).tolist()
            for place, (attempt, move) in enumerate(zip(attempts, chosen, strict=True)):
                attempt.spent["checks"] += 1
                if move is not None and attempt.is_right(move) != sees[place]:
                    struck[place] = move
                    attempt.spent["corrections"] += 1
            again = [place for place, move in enumerate(struck) if move is not None]
            moves = [attempts[place].moves(struck[place]) for place in again]
            for place, move in zip(
                again, self._choose(who[again], moves, fold(key[again], _SECOND_CHOICE)), strict=True
            ):
                chosen[place] = move
        for attempt, move, wrong in zip(attempts, chosen, struck, strict=True):
            attempt.do(move, wrong)

    def _choose(self, who: Tensor, moves: Sequence[Moves], key: Tensor) -> list[Move | None]:
        """Draw a move for each student; None where there is none."""
        if not moves:
            return []
        probability, count = self._decide(who, moves)
        place = (probability.cumsum(-1) < uniform(key, 1) * probability.sum(-1, keepdim=True)).sum(-1)
        last = torch.minimum(place, count - 1).tolist()
        return [
            (int(options.relation[at]), int(options.entity[at])) if len(options.relation) else None
            for options, at in zip(moves, last, strict=True)
        ]

    def _decide(self, who: Tensor, moves: Sequence[Moves]) -> tuple[Tensor, Tensor]:
        """Probabilities of moves, float64 [n, C], 0 beyond the number there are, int64 [n]."""
        count = torch.tensor([len(options.relation) for options in moves])
        most = max(int(count.max()), 1)
        features = [np.pad(options.features, ((0, most - len(options.features)), (0, 0))) for options in moves]
        scores = self._policy.scores(who, torch.from_numpy(np.stack(features))).double() / TEMPERATURE
        missing = torch.arange(most) >= count[:, None]
        return scores.masked_fill(missing, -torch.inf).softmax(-1).nan_to_num(0.0), count


def _paths(advice: Tensor) -> list[RelationPath | None]:
    return [None if number == NO_ADVICE else PATHS[number] for number in advice.tolist()]
