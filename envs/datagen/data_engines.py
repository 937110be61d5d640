"""Data engines of unknown quality: what a teacher buys when it buys training items.

In life the items come from generators, crowds or scrapes that differ: some make clean items, some make wrong answers, some
make the same few problems again and again, and the price says nothing about it. Here every skill has a few sources whose
kind is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym import random
from kdgym.core.course import FIRST_PURPOSE, MAX_LOSS, Course
from kdgym.core.course_settings import CourseSettings
from kdgym.core.fields import Fields, Layout
from kdgym.core.population import Array
from kdgym.students import Batch
from kdgym.tasks.base import Task

_KIND, _PRICE, _SOURCE, _ITEMS = range(FIRST_PURPOSE, FIRST_PURPOSE + 4)  # purposes of a student's random streams
PRICES = (1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True)
class SourceKind:
    """How a data engine makes items.

    Attributes:
        name: for people.
        error_rate: share of items whose answer is wrong (a random other answer that fits the skill).
        distinct: number of distinct problems it ever makes; None for all of the split.
    """

    name: str
    error_rate: float = 0.0
    distinct: int | None = None


KINDS = (
    SourceKind("clean"),
    SourceKind("wrong answers", error_rate=0.9),
    SourceKind("near-duplicates", distinct=8),
)


class Sources:
    """The data engines of a task, M a skill; source ``k * M + m`` is the m-th of skill k.

    Args:
        task: what is taught; items come from its train split.
        per_skill: sources M a skill.
        device: where lessons are made.
    """

    def __init__(self, task: Task, per_skill: int, device: torch.device) -> None:
        self.per_skill, self.skills, self.device = per_skill, len(task.skills), device
        self.total = self.skills * per_skill
        skill = torch.arange(self.total) // per_skill
        pool, answers = task.pool("train"), task.answer_pool
        # Per source: where its problems and its answers lie, and how many there are.
        table = [pool.start[skill], pool.count[skill], answers.start[skill], answers.count[skill]]
        self._place = torch.stack(table).to(device)
        self._solution = task.solution.to(device)
        self._distinct = torch.tensor([kind.distinct or 0 for kind in KINDS], device=device)
        self._error_rate = torch.tensor([kind.error_rate for kind in KINDS], dtype=torch.float64, device=device)
        self._prices = torch.tensor(PRICES, device=device)
        self._most_distinct = max(kind.distinct or 1 for kind in KINDS)

    def draw_kinds(self, key: Tensor) -> Tensor:
        """Kind of every source, keys [S] -> int64 [S, K * M]: one clean source a skill, anywhere; the others are each one of
        the bad kinds.
        """
        clean = random.integers(random.fold(key, 0), self.skills, self.per_skill).unsqueeze(2)
        bad = 1 + random.integers(random.fold(key, 1), self.total, len(KINDS) - 1).view(len(key), self.skills, -1)
        return bad.scatter(2, clean, 0).flatten(1)

    def draw_prices(self, key: Tensor) -> Tensor:
        """Price of an item from each source, keys [S] -> float32 [S, K * M]."""
        return self._prices[random.integers(key, self.total, len(PRICES))]

    def make_items(
        self, kind: Tensor, count: Tensor, size: int, episode: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Have the sources make a lesson's items, in random order.

        Args:
            kind: index into `KINDS` of every source, int64 [S, K * M].
            count: items each source makes, int64 [S, K * M].
            size: room N of a lesson, at least every student's total.
            episode: keys [S] that last an episode (a near-duplicate engine repeats itself within one).
            step: keys [S] of this lesson.

        Returns:
            ``(problem, answer, source)``, int64 [S, N]; each student's items stand first, what follows them is filler.
        """
        order, fresh, copy, shift, error = random.bits(step, 5 * size).view(len(step), 5, size).unbind(1)
        source = in_random_order(count, order)
        kinds = kind.gather(1, source)
        first, number, first_answer, answers = self._place[:, source]

        distinct = self._distinct[kinds]
        which = source * self._most_distinct + random.to_integers(copy, distinct.clamp_min(1))
        chosen = torch.where(distinct > 0, random.fold(episode.unsqueeze(1), which), fresh)
        problem = first + random.to_integers(chosen, number)

        right = self._solution[problem]
        wrong = another(right, first_answer, answers, shift)
        answer = torch.where(random.to_uniform(error) < self._error_rate[kinds], wrong, right)
        return problem, answer, source


def another(answer: Tensor, first: Tensor, number: Tensor, bits: Tensor) -> Tensor:
    """By random bits, another of a skill's answers than the given one; answer ids, ``number`` of them from ``first`` on."""
    shifted = answer - first + 1 + random.to_integers(bits, number - 1)
    return first + torch.where(shifted >= number, shifted - number, shifted)


def in_random_order(count: Tensor, order: Tensor) -> Tensor:
    """Which of n sources every item comes from: ``count[s, j]`` times source j, shuffled, then filler.

    Args:
        count: items of each source, int64 [S, n].
        order: random bits, int64 [S, N]; N is at least every student's total.
    """
    last = count.cumsum(1)
    slot = torch.arange(order.shape[1], device=count.device).expand(len(order), -1).contiguous()
    source = torch.searchsorted(last, slot, right=True).clamp_max_(count.shape[1] - 1)
    return source.gather(1, shuffle(order, last[:, -1]))


def shuffle(order: Tensor, total: Tensor) -> Tensor:
    """Places 0 .. N - 1 with the first ``total[s]`` of them shuffled by the random bits ``order``, int64 [S, N]."""
    filler = torch.arange(order.shape[1], device=order.device) >= total.unsqueeze(1)
    return order.masked_fill(filler, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)


class MarketSettings(CourseSettings):
    """Arguments of a course whose items are bought; `kdgym.envs.datagen.skill_list.SkillList` says what they mean."""

    sources: int = Field(4, ge=1, le=16)


class Market:
    """A course's items are bought: sources, their prices, purchases, and what became of them. Its state is passed in.

    Args:
        course: who buys.

    Attributes:
        sources: K skills, M sources each.
        layout: fields of a student's state.
        observation_space: what a teacher sees of them.
    """

    def __init__(self, course: Course[MarketSettings]) -> None:
        self.course, self.per_skill = course, course.config.sources
        self.sources = Sources(course.task, self.per_skill, course.students.device)
        pairs = self.sources.total
        loss = spaces.Box(0, MAX_LOSS, (pairs,))
        self.observation_space: dict[str, spaces.Space[Any]] = {
            "price": spaces.Box(min(PRICES), max(PRICES), (pairs,)),
            "source_loss": loss,
            "source_loss_mean": loss,
            "source_spend": spaces.Box(0, 1, (pairs,)),
        }
        self.layout: Layout = {
            "price": ((pairs,), torch.float32),
            "source_loss": ((pairs,), torch.float32),
            "start_loss": ((pairs,), torch.float32),
            "items": ((pairs,), torch.float64),
            "money": ((pairs,), torch.float64),
            "loss_sum": ((pairs,), torch.float64),
            "kind": ((pairs,), torch.int64),
            "source_key": ((), torch.int64),  # of the problems that a repetitive source repeats
        }
        every = torch.iinfo(torch.int64)
        self.limits: dict[str, tuple[float, float]] = {
            "kind": (0, len(KINDS) - 1),
            "source_key": (every.min, every.max),
        }

    def begin(self, state: Fields, rows: Tensor) -> None:
        """Draw the sources of the students ``rows``, int64 [rows]; their first validation is known."""
        state["kind"][rows] = self.sources.draw_kinds(random.stream(state, _KIND)[rows])
        state["source_key"][rows] = random.stream(state, _SOURCE)[rows]
        state["price"][rows] = self.sources.draw_prices(random.stream(state, _PRICE)[rows])
        for name in ("items", "money", "loss_sum"):
            state[name][rows] = 0
        known = state["loss"][rows].repeat_interleave(self.per_skill, dim=1)
        state["source_loss"][rows], state["start_loss"][rows] = known, known

    def teach(self, state: Fields, shares: Tensor) -> None:
        """Spend this step's allowance in these shares, float64 [S, K * M], and train the students on what was bought."""
        count = self._buy(state, shares)
        keys = state["source_key"], random.stream(state, _ITEMS, state["step"])
        problem, answer, source = self.sources.make_items(state["kind"], count, self.course.step_items, *keys)
        item_loss = self.course.train(state, Batch(problem, answer, count.sum(1)))
        loss = torch.zeros_like(state["loss_sum"]).scatter_add_(1, source, item_loss)
        state["loss_sum"][:] += loss
        state["items"][:] += count
        last = (loss / count.clamp_min(1)).float().clamp(0, MAX_LOSS)
        state["source_loss"][:] = torch.where(count > 0, last, state["source_loss"])

    def _buy(self, state: Fields, shares: Tensor) -> Tensor:
        """Shares of the allowance [S, K * M] -> items bought of each source, int64 [S, K * M]."""
        price = state["price"].double()
        count = torch.floor(shares * self.course.allowance(state).unsqueeze(1) / price)
        room = self.course.step_items / count.sum(1, keepdim=True).clamp_min(1)
        count = torch.floor(count * room.clamp_max(1))
        money = count * price
        state["money"][:] += money
        self.course.pay(state, count.sum(1), money.unflatten(1, (-1, self.per_skill)).sum(2))
        return count.long()

    def observe(self, state: Fields) -> dict[str, Tensor]:
        """What is in the boxes of ``observation_space``, [S, K * M] each."""
        mean = (state["loss_sum"] / state["items"].clamp_min(1)).float()
        return {
            "price": state["price"],
            "source_loss": state["source_loss"],
            "source_loss_mean": torch.where(state["items"] > 0, mean, state["start_loss"]).clamp(0, MAX_LOSS),
            "source_spend": state["money"] / self.course.config.budget,
        }

    def hidden(self, state: Fields) -> dict[str, Array]:
        """What the episode hides, for upper bounds only: ``kind`` of every source, index into `KINDS`, int64 [S, K * M]; and
        which of the task's misconceptions each student began with, ``held``, bool [S, misconceptions].
        """
        none = torch.zeros(len(state["kind"]), len(self.course.task.misconceptions), dtype=torch.bool)
        held = state["held"] if self.course.misconceptions else none
        return {"kind": state["kind"].cpu().numpy().copy(), "held": held.cpu().numpy().copy()}
