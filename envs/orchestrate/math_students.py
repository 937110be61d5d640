"""The world of ``kdgym/Orchestrate-Math-v1``: frozen students with habitual errors, which a fitting hint prevents.

Each student was pretrained on solutions with habitual errors of its own (see `kdgym.students.tiny.habits`), which depend on the
kind of problem. Half of the problems came with a hint; where the hint named the habit, the solution was careful. So a student
has learned its habits and the hints that prevent them. Which they are is hidden from the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from kdgym import random
from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, AttemptResult, Plan, Sizes, State, TaskInfo
from kdgym.envs.orchestrate.hinted_scratchpad import HINTS, HintedScratchpad
from kdgym.students.base import Batch, Tables
from kdgym.students.base_students.pool import Cohort, draw_numbers, keep, pretrain
from kdgym.students.practice import uniform
from kdgym.students.tiny.transformer import TransformerStudents
from kdgym.tasks.scratchpad import STEP

_ITEMS = 24_576  # of pretraining
_NO_HABIT, _EXCEPTION = (
    0.35,
    0.3,
)  # probabilities: no habit on a kind of problem; an operator's habit differs from the other's
_HABIT, _SLIP = (0.5, 0.85), (0.01, 0.05)  # ranges of the rate of errors a step: with the habit, and without
_HINTED, _FITTING = 0.5, 0.5  # share of items with a hint; share of the hints that name the habit
_WEIGHTS, _PROBLEMS, _PROBE, _ANSWER, _CHECK = range(5)  # purposes of random streams


class MathWorld:
    """See `kdgym.envs.orchestrate.frozen_students.World` for attributes and methods.

    Args:
        pool: ``"train"`` or ``"evaluation"``: base students, and the split that their problems come from.
        tasks: length of a stream.
        radix, steps, version: of the problems, see `Scratchpad`.
        device: of the population.
    """

    name: ClassVar[str] = "Math"
    advices: ClassVar[tuple[str, ...]] = tuple(f"take care of: {hint}" for hint in HINTS)
    sizes: ClassVar[Sizes] = Sizes(verdict=1, guidance=3, note=2, judgement=1)

    def __init__(self, pool: str, tasks: int, radix: int, steps: int, version: int, device: torch.device) -> None:
        self.pool, self.tasks = pool, tasks
        self.task, self.students = _engine(radix, steps, version, str(device))
        self.edition = f"{self.task.version}-{radix}-{steps}"
        self.keys = self.task.kinds
        self.features = ("steps", "minus", "first", *self.keys)
        alike = torch.cat([torch.eye(steps).repeat_interleave(2, 0), 0.5 * torch.eye(2).repeat(steps, 1)], dim=1)
        self.cues = (alike / alike.norm(dim=1, keepdim=True)).to(device)
        self.layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]] = {
            "student": ((self.students.weights,), self.students.dtype),
            "problem": ((tasks,), torch.int64),
        }

    def begin(self, state: State, rows: Tensor, key: Tensor, anew: bool) -> None:
        if anew:
            state["student"][rows] = self._base(draw_numbers(random.fold(key, _WEIGHTS)))
        pool = self.task.pool("validation" if self.pool == "train" else "test")
        start, count = pool.start.to(key.device), pool.count.to(key.device)
        skill = random.integers(random.fold(key, _PROBLEMS, 0), self.tasks, len(start))
        state["problem"][rows] = start[skill] + random.integers(
            random.fold(key, _PROBLEMS, 1), self.tasks, count[skill]
        )

    def task_info(self, state: State, rows: Tensor, number: Tensor) -> TaskInfo:
        problem = self._problem(state, rows, number)
        steps, kind = self.task.number_of_steps.to(rows.device)[problem], self.task.kind(problem)
        first = self.task.prompt.to(rows.device)[problem, :2] @ torch.tensor([1, self.task.radix], device=rows.device)
        plain = [steps / self.task.steps, (kind % 2).float(), first / self.task.radix**2]
        every = torch.nn.functional.one_hot(kind, len(self.keys))
        _, log_p = self._write(state, rows, problem, random.fold(problem, _PROBE, number))
        surprisal = -log_p[:, :STEP].mean(1)
        return TaskInfo(
            features=torch.cat([torch.stack(plain, dim=1), every], dim=1).float(),
            key=kind,
            cue=kind,
            uncertainty=surprisal.clamp(0, 1).float(),
            tokens=(2.0 + 2 * steps).double(),
        )

    def impossible(self, state: State, part: slice | Tensor) -> str:
        problem = state["problem"][part]
        return "" if ((problem >= 0) & (problem < len(self.task.prompt))).all() else "problem"

    def text(self, state: State, rows: Tensor, number: Tensor) -> list[str]:
        return [self.task.text(problem) for problem in self._problem(state, rows, number).tolist()]

    def plausible_advice(self, state: State, rows: Tensor, number: Tensor) -> list[list[int]]:
        return [list(range(len(HINTS))) for _ in rows]

    def plan(self, state: State, rows: Tensor, number: Tensor, note: Tensor, key: Tensor) -> Plan:
        draft = self.attempt(state, rows, number, note, torch.full_like(note, NO_ADVICE), random.fold(key, _ANSWER))
        return Plan(draft.written, draft.best_advice, [log[-1]["answer"] for log in draft.log])

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
        task, problem, hint = self.task, self._problem(state, rows, number), torch.where(advice < 0, note, advice)
        asked, nothing = task.hinted(problem, hint), torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        tokens, _ = self._write(state, rows, asked, random.fold(key, _ANSWER))
        written, checks, corrections = task.length(tokens).double(), nothing, nothing
        if accuracy is not None:
            tokens, rewritten, checks, corrections = self._supervise(state, rows, problem, asked, tokens, key, accuracy)
            written = written + rewritten
        right = task.judge(problem, tokens)
        _, kind = task.first_error(problem, tokens)
        return AttemptResult(
            score=right.double(),
            read=2.0 + 2 * task.number_of_steps.to(rows.device)[problem].double(),
            written=written,
            calls=nothing,
            returned=nothing,
            checks=checks,
            corrections=corrections,
            best_advice=torch.where(right, NO_ADVICE, (kind - 1).clamp_min(0)),
            own_advice=hint,
            log=[
                [{"problem": task.text(p), "hint": HINTS[h] if h >= 0 else None, "answer": task.write_tokens(t)}]
                for p, h, t in zip(problem.tolist(), hint.tolist(), tokens.cpu(), strict=True)
            ],
        )

    # --- machinery -----------------------------------------------------------------------------------------------

    def _supervise(
        self, state: State, rows: Tensor, problem: Tensor, asked: Tensor, tokens: Tensor, key: Tensor, accuracy: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A supervisor checks every step in turn, and overwrites a step found wrong by the right one.

        Returns the tokens, and how many were written anew, checks and corrections, float64 [n] each.
        """
        task = self.task
        solution = task.answer.to(rows.device)[problem]
        steps = task.number_of_steps.to(rows.device)[problem]
        rewritten, checks, corrections = torch.zeros(3, len(rows), dtype=torch.float64, device=rows.device)
        for i in range(task.steps):
            mine = slice(STEP * i, STEP * (i + 1))
            wrong = (tokens[:, mine] != solution[:, mine]).any(1) & (i < steps)
            seen = random.uniform(random.fold(key, _CHECK, i), 1).squeeze(1) < accuracy
            found = (wrong == seen) & (i < steps)  # a wrong verdict is the opposite of the right one
            begun = tokens.clone()
            begun[:, mine] = solution[:, mine]
            again, _ = self._write(state, rows, asked, random.fold(key, _ANSWER, i), begun, STEP * (i + 1))
            checks += i < steps
            corrections += found
            rewritten += torch.where(found & wrong, task.length(again) - STEP * (i + 1), 0).clamp_min(0)
            tokens = torch.where((found & wrong).unsqueeze(1), again, tokens)
        return tokens, rewritten, checks, corrections

    def _problem(self, state: State, rows: Tensor, number: Tensor) -> Tensor:
        return state["problem"][rows, number.clamp_max(self.tasks - 1)]

    def _write(
        self, state: State, rows: Tensor, asked: Tensor, key: Tensor, begun: Tensor | None = None, stands: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Answers that students sample: tokens int64 [n, A] and log-probabilities [n, A]."""
        noise = uniform(key, (len(rows), 1, self.task.answer.shape[1]))
        given = None if begun is None else begun.unsqueeze(1)
        count = torch.full((len(rows), 1), stands, device=rows.device)
        tokens, log_p = self.students.sample(state["student"][rows], asked.unsqueeze(1), noise, given, count)
        return tokens.squeeze(1), log_p.squeeze(1)

    def _base(self, number: Tensor) -> Tensor:
        """Some of the pool's students, [n, weights]; from the cache, or pretrained once."""
        recipe: dict[str, Any] = {
            "task": [self.task.name, self.edition],
            "schooling": [_ITEMS, _NO_HABIT, _EXCEPTION, _HABIT, _SLIP, _HINTED, _FITTING],
            **self.students.recipe,
        }
        return keep(self.students, self.pool, recipe, number, self._pretrain)

    def _pretrain(self, cohort: Cohort) -> Tensor:
        task, students, key = self.task, self.students, cohort.key
        state = students.initialise(random.fold(key, 3))
        habit, rates = draw_habits(random.fold(key, 5), len(self.keys))

        def learn(problem: Tensor, begin: int) -> None:
            kind, draw = task.kind(problem), random.fold(key, 6, begin)
            mine = habit.gather(1, kind)
            noise = random.uniform(random.fold(draw, 1), 2 * problem.shape[1]).chunk(2, dim=1)
            some = random.integers(random.fold(draw, 0), problem.shape[1], len(HINTS))
            hint, hinted = torch.where((noise[0] < _FITTING) & (mine >= 0), mine, some), noise[1] < _HINTED
            careful = (mine == hint) & hinted
            rate = rates.gather(1, kind.unsqueeze(2).expand(-1, -1, len(HINTS)))
            rate = torch.where(careful.unsqueeze(2), rate.clamp_max(_SLIP[0]), rate)
            written = task.careless(problem, random.fold(draw, 2).unsqueeze(1), rate).flatten(0, 1)
            ids = torch.arange(len(written), device=problem.device).view_as(problem)
            asked = task.hinted(problem, torch.where(hinted, hint, NO_ADVICE))
            batch = Batch(asked, ids, torch.full_like(key, ids.shape[1]))
            students.train(state, batch, Tables(students.tables.prompts, written))

        share = torch.ones(len(key), len(task.skills), dtype=torch.float64, device=students.device)
        pretrain(task, random.fold(key, 4), share, _ITEMS, learn, f"Pretraining {cohort}, once")
        return state


def draw_habits(key: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """Habits of students on each kind of problem: keys int64 [S] -> habits and rates.

    Returns:
        habit: index into `HINTS`, int64 [S, kinds]; -1 for none. The two operators mostly share theirs.
        rates: of every error a step, float64 [S, kinds, len(HINTS)].
    """

    def draw(purpose: int) -> Tensor:
        some = random.integers(random.fold(key, purpose, 0), kinds, len(HINTS))
        return torch.where(random.uniform(random.fold(key, purpose, 1), kinds) < _NO_HABIT, NO_ADVICE, some)

    shared = draw(0)[:, ::2].repeat_interleave(2, dim=1)[:, :kinds]
    habit = torch.where(random.uniform(random.fold(key, 2), kinds) < _EXCEPTION, draw(1), shared)
    place = random.uniform(random.fold(key, 3), kinds * len(HINTS)).unflatten(1, (kinds, len(HINTS)))
    usual, slip = (low + (high - low) * place for low, high in (_HABIT, _SLIP))
    return habit, torch.where(habit.unsqueeze(2) == torch.arange(len(HINTS), device=key.device), usual, slip)


@lru_cache(maxsize=4)
def _engine(radix: int, steps: int, version: int, device: str) -> tuple[HintedScratchpad, TransformerStudents]:
    """Task and engine, which keep nothing between calls: branches of an environment share them."""
    task = HintedScratchpad(radix, steps, version)
    return task, TransformerStudents(task, device=device)
