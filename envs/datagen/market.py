"""A course whose items are bought, from sources of hidden quality at visible prices."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym.core.course import LEVEL, MAX_LOSS, Course
from kdgym.core.course_settings import CourseSettings
from kdgym.core.fields import Layout
from kdgym.core.population import Array
from kdgym.envs.datagen.data_engines import PRICES, Sources

_KIND, _PRICE, _SOURCE, _LESSON = range(LEVEL, LEVEL + 4)  # purposes of a student's random streams


class MarketSettings(CourseSettings):
    """Arguments of every market; `kdgym.envs.datagen.skill_list.SkillList` says what they mean."""

    sources: int = Field(4, ge=1, le=16)


class Market(Course):
    """Sources, prices, purchases, and what became of them; who buys what is the level's action.

    A level calls `_prepare` and `_open` first.

    Args:
        num_envs: number of students S.
        action_space: the level's.
        render_mode, autoreset: see `PopulationEnv`.
        observation_space, layout: what the level has beside the market's own.
    """

    config: MarketSettings

    def __init__(
        self,
        num_envs: int,
        action_space: spaces.Space[Any],
        render_mode: str | None,
        autoreset: bool,
        observation_space: dict[str, spaces.Space[Any]] | None = None,
        layout: Layout | None = None,
    ) -> None:
        pairs = self.sources.total
        super().__init__(
            num_envs,
            observation_space={
                "price": spaces.Box(min(PRICES), max(PRICES), (pairs,)),
                "source_loss": spaces.Box(0, MAX_LOSS, (pairs,)),
                "source_loss_mean": spaces.Box(0, MAX_LOSS, (pairs,)),
                "source_spend": spaces.Box(0, 1, (pairs,)),
                **(observation_space or {}),
            },
            action_space=action_space,
            layout={
                "price": ((pairs,), torch.float32),
                "source_loss": ((pairs,), torch.float32),
                "start_loss": ((pairs,), torch.float32),
                "items": ((pairs,), torch.float64),
                "money": ((pairs,), torch.float64),
                "loss_sum": ((pairs,), torch.float64),
                "kind": ((pairs,), torch.int64),
                "source_key": ((), torch.int64),  # of the problems that a repetitive source repeats
                **(layout or {}),
            },
            render_mode=render_mode,
            autoreset=autoreset,
        )

    def _open(self, config: MarketSettings) -> None:
        """Task, students and sources; a level needs them to say how large its spaces are."""
        self._prepare(config)
        self.sources = Sources(self.task, self.config.sources, self.students.device)

    def _begin_level(self, rows: Tensor) -> None:
        state = self.state
        state["kind"][rows] = self.sources.draw_kinds(self.stream(_KIND)[rows])
        state["source_key"][rows] = self.stream(_SOURCE)[rows]
        state["price"][rows] = self.sources.draw_prices(self.stream(_PRICE)[rows])
        for name in ("items", "money", "loss_sum"):
            state[name][rows] = 0
        known = state["loss"][rows].repeat_interleave(self.config.sources, dim=1)
        state["source_loss"][rows], state["start_loss"][rows] = known, known

    def _study(self, shares: Tensor) -> None:
        """Spend this step's allowance in these shares, float64 [S, K * M], and train the students on what was bought."""
        state = self.state
        count = self._buy(shares)
        keys = state["source_key"], self.stream(_LESSON, state["step"])
        problem, answer, source = self.sources.make_items(state["kind"], count, self.lesson_size, *keys)
        item_loss = self._train(problem, answer, count.sum(1))
        loss = torch.zeros_like(state["loss_sum"]).scatter_add_(1, source, item_loss)
        state["loss_sum"] += loss
        state["items"] += count
        last = (loss / count.clamp_min(1)).float().clamp(0, MAX_LOSS)
        state["source_loss"] = torch.where(count > 0, last, state["source_loss"])

    def _buy(self, shares: Tensor) -> Tensor:
        """Spend this step's allowance: shares [S, K * M] -> items bought of each source, int64 [S, K * M]."""
        price = self.state["price"].double()
        count = torch.floor(shares * self._allowance().unsqueeze(1) / price)
        room = self.lesson_size / count.sum(1, keepdim=True).clamp_min(1)
        count = torch.floor(count * room.clamp_max(1))
        money = count * price
        self.state["money"] += money
        self._pay(count.sum(1), money.unflatten(1, (-1, self.config.sources)).sum(2))
        return count.long()

    def _observe_level(self) -> dict[str, Tensor]:
        state = self.state
        mean = (state["loss_sum"] / state["items"].clamp_min(1)).float()
        return {
            "price": state["price"],
            "source_loss": state["source_loss"],
            "source_loss_mean": torch.where(state["items"] > 0, mean, state["start_loss"]).clamp(0, MAX_LOSS),
            "source_spend": state["money"] / self.config.budget,
        }

    def hidden(self) -> dict[str, Array]:
        """What the episode hides, for upper bounds only: ``kind`` of every source, index into `KINDS`, int64 [S, K * M]; and
        which of the task's misconceptions each student began with, ``held``, bool [S, misconceptions].
        """
        ordinary = torch.zeros(self.num_envs, len(self.task.misconceptions), dtype=torch.bool)
        held = self.state["held"] if self.misconceptions else ordinary
        return {"kind": self.state["kind"].cpu().numpy().copy(), "held": held.cpu().numpy().copy()}
