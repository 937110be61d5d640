"""Kinds of feedback that are wrong, by a hidden draw: what they show is a solution with a mistake in it."""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym import random
from kdgym.core.fields import Fields, Layout
from kdgym.tasks.feedback import KINDS
from kdgym.tasks.scratchpad import Scratchpad

SHOWING = KINDS[1:]  # a mark shows nothing, so it is never wrong


class Reliability:
    """Which kinds of feedback are wrong, how, and until when. Its state is passed in.

    At any time ``faulty`` of the kinds that show a solution are wrong, all in the same way: they make one kind of mistake (see
    `Scratchpad.careless`) in every step. An episode has ``shifts`` such draws. They relieve one another at steps that are
    drawn: of three, after a third and two thirds of the episode, or one step earlier or later.

    Args:
        task: what is practised.
        faulty: kinds that are wrong.
        shifts: draws of an episode.
        steps: of an episode.
        device: of the population.

    Attributes:
        layout: fields of a student's state.
        limits: of their values.
    """

    def __init__(self, task: Scratchpad, faulty: int, shifts: int, steps: int, device: torch.device) -> None:
        self.faulty, self.shifts, self.steps = faulty, shifts, steps
        self._solutions = torch.cat([task.faulty, task.answer[None]]).to(device)  # the last is right
        i64 = torch.int64
        self.layout: Layout = {
            "wrong": ((shifts, len(KINDS)), i64),
            "fault": ((shifts,), i64),
            "begins": ((shifts,), i64),
        }
        self.limits = {"wrong": (0, 1), "fault": (0, len(task.faulty) - 1), "begins": (0, steps + shifts)}

    def begin(self, state: Fields, rows: Tensor, key: Tensor) -> None:
        """Draw for an episode of the students ``rows``, from their keys; both int64 [rows]."""
        faults, first = len(self._solutions) - 1, len(KINDS) - len(SHOWING)
        for turn in range(self.shifts):
            drawn = random.fold(key, turn)
            rank = random.uniform(random.fold(drawn, 0), len(SHOWING)).argsort(dim=1).argsort(dim=1)
            state["wrong"][rows, turn, first:] = (rank < self.faulty).long()
            state["fault"][rows, turn] = random.integers(random.fold(drawn, 1), 1, faults).squeeze(1)
            about = round(turn * self.steps / self.shifts)
            late = random.integers(random.fold(drawn, 2), 1, 3).squeeze(1) - 1
            state["begins"][rows, turn] = (about + late).clamp_min(turn) if turn else 0

    def wrong(self, state: Fields) -> Tensor:
        """Which kinds are wrong at the coming step, int64 [S, kinds]."""
        return self._now(state, "wrong")

    def solution(self, state: Fields, problem: Tensor, kind: Tensor) -> Tensor:
        """What feedback of a kind, int64 [S], takes for the solutions of problems [S, B]: tokens int64 [S, B, A]."""
        wrong = self.wrong(state).gather(1, kind.unsqueeze(1)).squeeze(1) > 0
        number = torch.where(wrong, self._now(state, "fault"), len(self._solutions) - 1)
        return self._solutions[number.unsqueeze(1), problem]

    def _now(self, state: Fields, name: str) -> Tensor:
        turn = (state["begins"] <= state["step"].unsqueeze(1)).sum(1) - 1
        return state[name][torch.arange(len(turn), device=turn.device), turn]
