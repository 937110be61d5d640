"""Supervision of frozen students, stage by stage, and what every stage costs.

The stages are those of ATLAS's runtime ("Continual Learning, Not Training", Arc Computer, 2025): a plan may be reviewed, the
student attempts its task, and a supervisor finds the answer valid or not and gives guidance for a retry. (ATLAS calls it the
teacher, as do the ledger and the setting ``teacher``.) The supervisor is noisy: each of its verdicts and advices is right with
a given probability.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kdgym import random
from kdgym.core import ledger
from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, State, TaskInfo, World

LANES = ("auto", "paired", "coach", "stepwise")
_PLAN, _ATTEMPT, _VERDICT, _ADVICE, _JUDGE = range(5)  # purposes of a session's random streams


@dataclass(frozen=True)
class Supervisor:
    """A noisy supervisor and judge: their accuracies, and the price of every actor's tokens.

    Attributes:
        verdict: probability that a verdict on an answer or a plan is right.
        advice: probability of the best advice; otherwise it is drawn uniformly.
        step: probability that the check of a step is right.
        judge: probability that the judge gives the true score; otherwise it is drawn uniformly from [0, 1).
        prices: actor of the ledger -> money a token.
    """

    verdict: float
    advice: float
    step: float
    judge: float
    prices: dict[str, float]

    def find_fault(self, session: Session, chosen: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Verdicts on the work of students ``chosen``, int64 [m]: whether it is invalid, bool [m], and tokens, float64 [m]."""
        wrong = session.best_advice[chosen] != NO_ADVICE
        sees = random.uniform(key, 1).squeeze(1) < self.verdict
        read = session.task.tokens[chosen] + session.written[chosen]
        return wrong == sees, read + session.world.sizes.verdict

    def advise(self, session: Session, chosen: Tensor, key: Tensor, size: float) -> tuple[Tensor, Tensor]:
        """Advice, int64 [m] or `NO_ADVICE`, and its tokens, float64 [m]; ``size`` is relative to the world's usual length."""
        draw = random.uniform(random.fold(key, 0), 1).squeeze(1)
        any_other = random.integers(random.fold(key, 1), 1, len(session.world.advices)).squeeze(1)
        knows = (draw < self.advice) & (session.best_advice[chosen] != NO_ADVICE)
        said = torch.where(knows, session.best_advice[chosen], any_other)
        return said, torch.full_like(draw, size * session.world.sizes.guidance)


@dataclass
class Session:
    """n students at one task each: stages are called one after another, each on the students of a mask, bool [n].

    Attributes:
        world, supervisor, state: of the population.
        rows, number: students, and the number of each one's task, int64 [n].
        task: what is known of the tasks.
        note: advice from memory, int64 [n] or `NO_ADVICE`.
        left: money left, float64 [n]; without any, a student enters no further stage.
        key: of all random numbers, int64 [n].
        advice: the supervisor's last, int64 [n] or `NO_ADVICE`.
        score, written, best_advice, own_advice: of the last attempt, see
        `kdgym.envs.orchestrate.frozen_students.AttemptResult`.
        bill: costs, float64 [n, actors, units].
        events: one list a student, in the order of time.
        lane: of each student, int64 [n].
        changed: whether the memory has changed, bool [n].
    """

    world: World
    supervisor: Supervisor
    state: State
    rows: Tensor
    number: Tensor
    task: TaskInfo
    note: Tensor
    left: Tensor
    key: Tensor
    advice: Tensor = field(init=False)
    score: Tensor = field(init=False)
    written: Tensor = field(init=False)
    best_advice: Tensor = field(init=False)
    own_advice: Tensor = field(init=False)
    bill: Tensor = field(init=False)
    events: list[list[dict[str, Any]]] = field(init=False)
    lane: Tensor = field(init=False)
    changed: Tensor = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.rows)
        self.advice, self.best_advice, self.own_advice = torch.full((3, n), NO_ADVICE, device=self.rows.device)
        self.lane = torch.zeros_like(self.rows)
        self.score, self.written = torch.zeros(2, n, dtype=torch.float64, device=self.rows.device)
        self.bill = torch.zeros(n, *ledger.SHAPE, dtype=torch.float64, device=self.rows.device)
        self.events = [[] for _ in range(n)]
        self.changed = torch.zeros(n, dtype=torch.bool, device=self.rows.device)
        self._stage = 0

    def supervise(self, lane: Tensor, recheck: bool) -> None:
        """Go through the stages of each student's lane, int64 [n]; with ``recheck``, a retry is checked and tried once more."""
        self.lane = lane
        paired, coach, stepwise = (lane == LANES.index(name) for name in ("paired", "coach", "stepwise"))
        self.advise(self.plan(coach))
        self.attempt(torch.ones_like(coach), checked=stepwise)
        invalid = paired | coach
        for _ in range(1 + recheck):
            invalid = self.verdict(invalid)
            self.advise(invalid & paired)
            self.advise(invalid & coach, size=0.5)
            self.attempt(invalid, checked=torch.zeros_like(stepwise))

    # --- stages --------------------------------------------------------------------------------------------------

    def plan(self, mask: Tensor) -> Tensor:
        """Students write a plan, and the supervisor reads it; returns the mask of those whose plan it rejects."""
        chosen, key = self._enter(mask, _PLAN)
        rejected = torch.zeros_like(mask)
        if not len(chosen):
            return rejected
        plan = self.world.plan(self.state, self.rows[chosen], self.number[chosen], self.note[chosen], key[chosen])
        self.written[chosen], self.best_advice[chosen] = plan.written, plan.best_advice
        self.add_event(chosen, "plan", plan.said)
        tokens = self.task.tokens[chosen] + self._note_tokens(chosen) + plan.written
        self._charge(chosen, "student_inference", 1, tokens)
        return self._verdict(chosen, "plan")

    def attempt(self, mask: Tensor, checked: Tensor) -> None:
        """Students attempt their tasks; for those of ``checked``, bool [n], the supervisor checks every step."""
        chosen, key = self._enter(mask, _ATTEMPT)
        for stepwise in (False, True):
            part = chosen[checked[chosen] == stepwise]
            if len(part):
                self._attempt(part, key[part], stepwise)

    def verdict(self, mask: Tensor) -> Tensor:
        """The supervisor reads the last answers; returns the mask of those it finds invalid."""
        chosen, _ = self._enter(mask, _VERDICT)
        return self._verdict(chosen, "answer") if len(chosen) else torch.zeros_like(mask)

    def advise(self, mask: Tensor, size: float = 1.0) -> None:
        """The supervisor gives advice; ``size`` is its length relative to the world's usual one."""
        chosen, key = self._enter(mask, _ADVICE)
        if not len(chosen):
            return
        self.advice[chosen], tokens = self.supervisor.advise(self, chosen, key[chosen], size)
        self._charge(chosen, "teacher", 1, tokens)
        said = [self.world.advices[a] if a != NO_ADVICE else "none" for a in self.advice[chosen].tolist()]
        self.add_event(chosen, "advice", said)

    def judge(self) -> Tensor:
        """A judge's scores of the answers, float64 [n]: an observation, never the reward."""
        all_students = torch.arange(len(self.rows), device=self.rows.device)
        draw = random.uniform(random.fold(self.key, _JUDGE), 2)
        judged = torch.where(draw[:, 0] < self.supervisor.judge, self.score, draw[:, 1])
        self._charge(all_students, "judge", 1, self.task.tokens + self.written + self.world.sizes.judgement)
        self.add_event(all_students, "judged", judged.tolist())
        return judged

    # -------------------------------------------------------------------------------------------------------------

    def _enter(self, mask: Tensor, purpose: int) -> tuple[Tensor, Tensor]:
        """The students who enter the next stage, int64 [m], and the keys of all n students for it."""
        self._stage += 1
        return (mask & (self.left > 0)).nonzero().squeeze(1), random.fold(self.key, purpose, self._stage)

    def _attempt(self, part: Tensor, key: Tensor, checked: bool) -> None:
        accuracy = (
            torch.full((len(part),), self.supervisor.step, dtype=torch.float64, device=part.device) if checked else None
        )
        rows, number = self.rows[part], self.number[part]
        result = self.world.attempt(self.state, rows, number, self.note[part], self.advice[part], key, accuracy)
        self.score[part], self.written[part] = result.score, result.written
        self.best_advice[part], self.own_advice[part] = result.best_advice, result.own_advice
        sizes = self.world.sizes
        guided = sizes.guidance * ((self.advice[part] != NO_ADVICE) + result.corrections)
        self._charge(part, "student_inference", 1, result.read + self._note_tokens(part) + guided + result.written)
        self._charge(part, "tools", result.calls, result.returned)
        if checked:
            reads = result.checks * (self.task.tokens[part] + result.written)  # every check is a call of its own
            spoken = result.checks * sizes.verdict + result.corrections * sizes.guidance
            self._charge(part, "teacher", result.checks, reads + spoken)
        for i, log in zip(part.tolist(), result.log, strict=True):
            self.events[i] += [{"what": "attempt", **entry} for entry in log]

    def _verdict(self, chosen: Tensor, what: str) -> Tensor:
        found = torch.zeros_like(self.left, dtype=torch.bool)
        found[chosen], tokens = self.supervisor.find_fault(
            self, chosen, random.fold(self.key, _VERDICT, self._stage)[chosen]
        )
        self._charge(chosen, "teacher", 1, tokens)
        verdicts = ["invalid" if bad else "valid" for bad in found[chosen].tolist()]
        self.add_event(chosen, f"verdict on the {what}", verdicts)
        return found

    def _note_tokens(self, chosen: Tensor) -> Tensor:
        """Tokens of the note that these students read."""
        return self.world.sizes.note * (self.note[chosen] != NO_ADVICE).double()

    def _charge(self, chosen: Tensor, actor: str, items: Tensor | float, tokens: Tensor | float) -> None:
        price = self.supervisor.prices.get(actor, 0.0)
        money = price * torch.as_tensor(tokens, dtype=torch.float64, device=chosen.device)
        ledger.charge(self.bill, actor, chosen, items=items, tokens=tokens, money=money)
        self.left[chosen] -= money

    def charge(self, actor: str, chosen: Tensor, tokens: Tensor) -> None:
        """Charge costs outside the stages: ``tokens`` float64 [m] of the students ``chosen``, int64 [m]."""
        self._charge(chosen, actor, 1, tokens)

    def add_event(self, chosen: Tensor, what: str, values: list[Any]) -> None:
        """Add an event to those of the students ``chosen``, int64 [m]: JSON-serialisable values, one each."""
        for i, value in zip(chosen.tolist(), values, strict=True):
            self.events[i].append({"what": what, "value": value})
