"""DataGen: the teacher splits a data budget over skills and over data engines of unknown quality.

After DataEnvGym (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025), whose teacher decides which training data a student gets
next; here with spaces, a reward, an enforced budget and a population of students.
"""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym.core import SingleEnv
from kdgym.core.course import LEVEL, MAX_LOSS, Course
from kdgym.core.course_settings import CourseSettings
from kdgym.core.population import Array
from kdgym.spaces import Shares
from kdgym.tasks.sources import PRICES, Sources

_KIND, _PRICE, _SOURCE, _LESSON = range(LEVEL, LEVEL + 4)  # purposes of a student's random streams


class SkillListSettings(CourseSettings):
    """Arguments of `SkillList`; see there."""

    sources: int = Field(4, ge=1, le=16)


class SkillList(Course):
    """Teach by buying training data, skill by skill: the Skill-List level.

    ## Description
    Each student is a small transformer that can do a little of everything: of arithmetic (``DataGen-Math``), of short
    programs (``DataGen-Code``), of questions about pictures of real handwritten digits (``DataGen-VQA``), or of datasets of
    reasoning-gym (``DataGen-Reasoning``). An episode asks for one to three *target* skills. Every skill has several data
    engines (*sources*): some make clean items, some mostly wrong answers, some the same eight problems again and again.
    Which is which is hidden and drawn anew every episode; prices are visible and say nothing about quality. At each step
    the teacher splits the step's money over all skill x source pairs; the student trains once on what was bought, in random
    order, by AdamW, and sits an examination.

    ## Action Space
    `kdgym.spaces.Shares`, a ``Box(-1, 1, (K * M,), float32)`` for K skills and M sources a skill, skill-major. Shares of the
    money are ``softmax(4 * action)``. Entry ``k * M + m`` is source m of skill k. The action 0 is the uniform split.

    ## Observation Space
    A ``Dict`` of float32 boxes:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (K,) | [0, 1] | exact match on the episode's validation items |
    | loss | (K,) | [0, 10] | validation loss, nats an answer token |
    | change | (K,) | [-1, 1] | accuracy minus accuracy one step ago |
    | target | (K,) | [0, 1] | how much each skill counts; sums to 1 |
    | price | (K * M,) | [1, 2] | money an item of each source costs |
    | source_loss | (K * M,) | [0, 10] | training loss of the items last bought there, just before they were learned |
    | source_loss_mean | (K * M,) | [0, 10] | the same, averaged over all items bought there so far |
    | source_spend | (K * M,) | [0, 1] | share of the whole budget spent there so far |
    | budget | (1,) | [0, 1] | share of the money left |
    | time | (1,) | [0, 1] | share of the steps left |

    Where nothing was bought yet, both source losses show the skill's validation loss at the start.

    ## Rewards
    Change of the target-weighted validation accuracy in this step (``reward="accuracy"``), or of minus the target-weighted
    validation loss (``reward="log_loss"``, much less noisy). Rewards of an episode sum to what the student learned.

    ## Starting State
    A base student drawn from the pool (128 short random mixtures of schooling, see `kdgym.students.pool`), fresh optimiser.
    One to ``max_targets`` target skills with random weights. ``reset(options={"restart": "continue"})`` keeps the student's
    weights and draws everything else anew.

    ## Episode End
    ``terminated`` after ``steps`` steps, when the last allowance is spent. Never truncated.

    ## Student
    A decoder-only transformer (one block, width 32, 12 thousand parameters) and AdamW, batches of 16, each item once. Images
    come first in its sequence, as patches under a linear embedding. With ``student="hf:..."`` a language model instead, whose
    population are LoRA adapters over one frozen base (`kdgym.students.language`): every student begins as the base model,
    observations and actions are the same, and a shorter course is the default (6 steps of 96 items, 4 validation items).

    ## Budget
    ``budget`` units of money an episode. A step's allowance is the money left divided by the steps left; a source's items
    are ``floor(share * allowance / price)``, and at most ``budget / steps`` items fit into a lesson. What rounding leaves
    over stays in the account. More cannot be spent.

    ## Splits
    Items come from ``train``, rewards and observations from ``validation``, `examine` asks ``test``. The splits share no pair
    of operands (Math), no program (Code), no handwriting (VQA) and no problem, in whatever order (Reasoning), in any skill.

    ## Determinism
    Equal settings, seeds and actions give bitwise equal observations on one machine. With the compiled engine (see ``engine``)
    they depend neither on the number of threads nor on the other students of the population; with torch operations the same
    holds at one thread. Language models agree to rounding in populations of different sizes, and on a GPU.

    ## Headroom
    ``kdgym headroom ID`` prints it; the README shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``task``: what is taught, a name of `kdgym.tasks.TASKS`; ``task_options``: its arguments, e.g. ``{"radix": 10}``. They may
      stand beside the other settings instead: ``radix=10``, ``datasets=["gcd", "lcm"]``.
    * ``skills``: None for the task's own, ``"discovered"`` for clusters of its validation problems, found without labels
      (`kdgym.tasks.discovery`), ``"discovered:12"`` for twelve of them; the same students, problems and splits.
    * ``student``: ``"transformer"``, or ``"hf:"`` and a model: a directory, one prepared by ``kdgym models add``, or a hub id.
    * ``student_options``: of language models, see `kdgym.students.language.LanguageOptions`; ``dtype``: their type.
    * ``pool``: base students, ``"train"`` or ``"evaluation"``; no student is in both.
    * ``steps``, ``budget``: length of an episode, and its money (an item costs 1 to 2).
    * ``sources``: data engines a skill.
    * ``max_targets``: most target skills of an episode; if left out, 3, or all skills of a task that has fewer.
    * ``validation_items``, ``test_items``: items a skill of the validation, and most of an examination.
    * ``test_draw``: other numbers draw other test items for `examine`.
    * ``misconceptions``: how many wrong rules every base student has been schooled in, drawn from the task's (``task.
      misconceptions``), or the names of those that all have. Who has which is state, and never observation or info;
      `examine_misconceptions` tells whoever scores a teacher.
    * ``placebo``: destroy the content of every item: what is learned then is form alone (`kdgym.tasks.placebo`).
    * ``reward``: ``"accuracy"`` or ``"log_loss"``.
    * ``device``: torch device of the whole population.
    * ``engine``: ``"torch"``, ``"kernel"`` (compiled, CPU only) or ``"auto"``; see `kdgym.students.TransformerStudents`.
    * ``render_mode``: ``None``, ``"rgb_array"`` or ``"human"``.
    * ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    config: SkillListSettings
    level = "SkillList"

    def __init__(
        self, num_envs: int = 1, render_mode: str | None = None, autoreset: bool = True, **settings: Any
    ) -> None:
        self._prepare(SkillListSettings.parse(settings))
        self.sources = Sources(self.task, self.config.sources, self.students.device)
        pairs = self.sources.total
        self._temperature = Shares(pairs).temperature
        super().__init__(
            num_envs,
            observation_space={
                "price": spaces.Box(min(PRICES), max(PRICES), (pairs,)),
                "source_loss": spaces.Box(0, MAX_LOSS, (pairs,)),
                "source_loss_mean": spaces.Box(0, MAX_LOSS, (pairs,)),
                "source_spend": spaces.Box(0, 1, (pairs,)),
            },
            action_space=Shares(pairs),
            layout={
                "price": ((pairs,), torch.float32),
                "source_loss": ((pairs,), torch.float32),
                "start_loss": ((pairs,), torch.float32),
                "items": ((pairs,), torch.float64),
                "money": ((pairs,), torch.float64),
                "loss_sum": ((pairs,), torch.float64),
                "kind": ((pairs,), torch.int64),
                "source_key": ((), torch.int64),  # of the problems that a repetitive source repeats
            },
            render_mode=render_mode,
            autoreset=autoreset,
        )

    def _begin_level(self, rows: Tensor) -> None:
        state = self.state
        state["kind"][rows] = self.sources.draw_kinds(self.stream(_KIND)[rows])
        state["source_key"][rows] = self.stream(_SOURCE)[rows]
        state["price"][rows] = self.sources.draw_prices(self.stream(_PRICE)[rows])
        for name in ("items", "money", "loss_sum"):
            state[name][rows] = 0
        known = state["loss"][rows].repeat_interleave(self.config.sources, dim=1)
        state["source_loss"][rows], state["start_loss"][rows] = known, known

    def _give_lesson(self, action: Tensor) -> None:
        state = self.state
        count = self._buy(torch.softmax(self._temperature * action.double(), dim=1))
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
        held = self.state["held"] if self.misled else ordinary
        return {"kind": self.state["kind"].cpu().numpy().copy(), "held": held.cpu().numpy().copy()}


class SkillListEnv(SingleEnv):
    __doc__ = SkillList.__doc__
    population = SkillList
