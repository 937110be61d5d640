"""Supervision of frozen students, stage by stage, and what every stage costs.

The stages are those of ATLAS's runtime ("Continual Learning, Not Training", Arc Computer, 2025): a plan may be reviewed, the
student attempts its task, a teacher finds the answer valid or not and gives guidance for a retry. The teacher is a noisy
expert: what an all-knowing one would say, it says with a known probability.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kdgym import random
from kdgym.core import ledger
from kdgym.envs.orchestrate.frozen_students import NOTHING, Duty, State, World

LANES = ("auto", "paired", "coach", "stepwise")
_PLAN, _ATTEMPT, _VERDICT, _ADVICE, _JUDGE = range(5)  # purposes of a session's random streams


@dataclass(frozen=True)
class Expert:
    """The teacher behind the lanes: how good it and the judge are, and what a token of whom costs.

    Attributes:
        verdict: probability that a verdict on an answer or a plan is right.
        advice: probability that advice is what the attempt needed; otherwise it is any advice.
        step: probability that the check of a step is right.
        judge: probability that the judge gives the true score; otherwise it gives any, uniformly.
        prices: actor of the ledger -> money a token.
    """

    verdict: float
    advice: float
    step: float
    judge: float
    prices: dict[str, float]

    def find_fault(self, session: Session, chosen: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Read what the students ``chosen``, int64 [m], wrote: whether there is fault, bool [m], and tokens, float64 [m]."""
        wrong = session.remedy[chosen] != NOTHING
        sees = random.uniform(key, 1).squeeze(1) < self.verdict
        read = session.duty.tokens[chosen] + session.written[chosen]
        return wrong == sees, read + session.world.sizes.verdict

    def advise(self, session: Session, chosen: Tensor, key: Tensor, size: float) -> tuple[Tensor, Tensor]:
        """What to do, int64 [m] or `NOTHING`, and tokens, float64 [m]; ``size`` is how much is said, in usual lengths."""
        draw = random.uniform(random.fold(key, 0), 1).squeeze(1)
        any_other = random.integers(random.fold(key, 1), 1, len(session.world.advices)).squeeze(1)
        knows = (draw < self.advice) & (session.remedy[chosen] != NOTHING)
        said = torch.where(knows, session.remedy[chosen], any_other)
        return said, torch.full_like(draw, size * session.world.sizes.guidance)


@dataclass
class Session:
    """n students at one task each: stages are called one after another, each on the students of a mask, bool [n].

    Attributes:
        world, expert, state: where, by whom, and of which population.
        rows, number: students, and the number of each one's task, int64 [n].
        duty: their tasks.
        note: what the memory says, int64 [n] or `NOTHING`.
        left: money left, float64 [n]; who has none left goes through no further stage.
        key: of all random numbers, int64 [n].
        advice: what the teacher said last, int64 [n] or `NOTHING`.
        score, written, remedy, way: of the last attempt, see `kdgym.envs.orchestrate.frozen_students.Work`.
        bill: what it cost, float64 [n, actors, units].
        events: what happened, one list a student.
        lane: the lane that was gone through, int64 [n].
        changed: whose memory is another afterwards, bool [n].
    """

    world: World
    expert: Expert
    state: State
    rows: Tensor
    number: Tensor
    duty: Duty
    note: Tensor
    left: Tensor
    key: Tensor
    advice: Tensor = field(init=False)
    score: Tensor = field(init=False)
    written: Tensor = field(init=False)
    remedy: Tensor = field(init=False)
    way: Tensor = field(init=False)
    bill: Tensor = field(init=False)
    events: list[list[dict[str, Any]]] = field(init=False)
    lane: Tensor = field(init=False)
    changed: Tensor = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.rows)
        self.advice, self.remedy, self.way = torch.full((3, n), NOTHING, device=self.rows.device)
        self.lane = torch.zeros_like(self.rows)
        self.score, self.written = torch.zeros(2, n, dtype=torch.float64, device=self.rows.device)
        self.bill = torch.zeros(n, *ledger.SHAPE, dtype=torch.float64, device=self.rows.device)
        self.events = [[] for _ in range(n)]
        self.changed = torch.zeros(n, dtype=torch.bool, device=self.rows.device)
        self._stage = 0

    def supervise(self, lane: Tensor, recheck: bool) -> None:
        """Go through the stages of everybody's lane, int64 [n]; a retry is checked, and tried again, if ``recheck``."""
        self.lane = lane
        paired, coach, stepwise = (lane == LANES.index(name) for name in ("paired", "coach", "stepwise"))
        self.advise(self.plan(coach))
        self.attempt(torch.ones_like(coach), beside=stepwise)
        doubtful = paired | coach
        for _ in range(1 + recheck):
            doubtful = self.verdict(doubtful)
            self.advise(doubtful & paired)
            self.advise(doubtful & coach, size=0.5)
            self.attempt(doubtful, beside=torch.zeros_like(stepwise))

    # --- stages --------------------------------------------------------------------------------------------------

    def plan(self, mask: Tensor) -> Tensor:
        """Students say how they would go about it, and the teacher reads it; the mask of those whose plan it rejects."""
        chosen, key = self._enter(mask, _PLAN)
        rejected = torch.zeros_like(mask)
        if not len(chosen):
            return rejected
        plan = self.world.plan(self.state, self.rows[chosen], self.number[chosen], self.note[chosen], key[chosen])
        self.written[chosen], self.remedy[chosen] = plan.written, plan.remedy
        self.tell(chosen, "plan", plan.said)
        self._charge(chosen, "student_inference", 1, self.duty.tokens[chosen] + self._noted(chosen) + plan.written)
        return self._verdict(chosen, "plan")

    def attempt(self, mask: Tensor, beside: Tensor) -> None:
        """Students attempt their tasks; with those of ``beside``, bool [n], a teacher checks every step."""
        chosen, key = self._enter(mask, _ATTEMPT)
        for checked in (False, True):
            part = chosen[beside[chosen] == checked]
            if len(part):
                self._attempt(part, key[part], checked)

    def verdict(self, mask: Tensor) -> Tensor:
        """The teacher reads what was written last; the mask of those in whose answer it finds fault."""
        chosen, _ = self._enter(mask, _VERDICT)
        return self._verdict(chosen, "answer") if len(chosen) else torch.zeros_like(mask)

    def advise(self, mask: Tensor, size: float = 1.0) -> None:
        """The teacher says what to do; ``size`` is the length of its guidance, in the world's usual lengths."""
        chosen, key = self._enter(mask, _ADVICE)
        if not len(chosen):
            return
        self.advice[chosen], tokens = self.expert.advise(self, chosen, key[chosen], size)
        self._charge(chosen, "teacher", 1, tokens)
        said = [self.world.advices[a] if a != NOTHING else "none" for a in self.advice[chosen].tolist()]
        self.tell(chosen, "advice", said)

    def judge(self) -> Tensor:
        """What a judge thinks of the answers, float64 [n]: an observation, never the reward."""
        everybody = torch.arange(len(self.rows), device=self.rows.device)
        draw = random.uniform(random.fold(self.key, _JUDGE), 2)
        judged = torch.where(draw[:, 0] < self.expert.judge, self.score, draw[:, 1])
        self._charge(everybody, "judge", 1, self.duty.tokens + self.written + self.world.sizes.judgement)
        self.tell(everybody, "judged", judged.tolist())
        return judged

    # -------------------------------------------------------------------------------------------------------------

    def _enter(self, mask: Tensor, purpose: int) -> tuple[Tensor, Tensor]:
        """The students who go through the next stage, int64 [m], and everybody's keys for it."""
        self._stage += 1
        return (mask & (self.left > 0)).nonzero().squeeze(1), random.fold(self.key, purpose, self._stage)

    def _attempt(self, part: Tensor, key: Tensor, checked: bool) -> None:
        accuracy = (
            torch.full((len(part),), self.expert.step, dtype=torch.float64, device=part.device) if checked else None
        )
        rows, number = self.rows[part], self.number[part]
        work = self.world.attempt(self.state, rows, number, self.note[part], self.advice[part], key, accuracy)
        self.score[part], self.written[part] = work.score, work.written
        self.remedy[part], self.way[part] = work.remedy, work.way
        sizes = self.world.sizes
        guided = sizes.guidance * ((self.advice[part] != NOTHING) + work.corrections)
        self._charge(part, "student_inference", 1, work.read + self._noted(part) + guided + work.written)
        self._charge(part, "tools", work.calls, work.returned)
        if checked:
            reads = work.checks * (self.duty.tokens[part] + work.written)  # every check is a call of its own
            spoken = work.checks * sizes.verdict + work.corrections * sizes.guidance
            self._charge(part, "teacher", work.checks, reads + spoken)
        for i, log in zip(part.tolist(), work.log, strict=True):
            self.events[i] += [{"what": "attempt", **entry} for entry in log]

    def _verdict(self, chosen: Tensor, what: str) -> Tensor:
        found = torch.zeros_like(self.left, dtype=torch.bool)
        found[chosen], tokens = self.expert.find_fault(
            self, chosen, random.fold(self.key, _VERDICT, self._stage)[chosen]
        )
        self._charge(chosen, "teacher", 1, tokens)
        self.tell(chosen, f"verdict on the {what}", ["invalid" if bad else "valid" for bad in found[chosen].tolist()])
        return found

    def _noted(self, chosen: Tensor) -> Tensor:
        """Tokens of the note that these students read."""
        return self.world.sizes.note * (self.note[chosen] != NOTHING).double()

    def _charge(self, chosen: Tensor, actor: str, items: Tensor | float, tokens: Tensor | float) -> None:
        money = self.expert.prices.get(actor, 0.0) * torch.as_tensor(tokens, dtype=torch.float64, device=chosen.device)
        ledger.charge(self.bill, actor, chosen, items=items, tokens=tokens, money=money)
        self.left[chosen] -= money

    def charge(self, actor: str, chosen: Tensor, tokens: Tensor) -> None:
        """Enter what was spent beside the stages: ``tokens`` float64 [m] of the students ``chosen``, int64 [m]."""
        self._charge(chosen, actor, 1, tokens)

    def tell(self, chosen: Tensor, what: str, values: list[Any]) -> None:
        """Add an event to those of the students ``chosen``, int64 [m]: JSON-serialisable values, one each."""
        for i, value in zip(chosen.tolist(), values, strict=True):
            self.events[i].append({"what": what, "value": value})
