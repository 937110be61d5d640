"""DataGen: the teacher splits a data budget over skills and over data engines of unknown quality.

After DataEnvGym (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025), whose teacher decides which training data a student gets
next; here with spaces, a reward, an enforced budget and a population of students.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym import random
from kdgym.core import PopulationEnv, SingleEnv, ledger
from kdgym.core.lesson import Lesson
from kdgym.core.population import Array
from kdgym.core.settings import Settings
from kdgym.spaces import Shares
from kdgym.students import Engine, make_students
from kdgym.students.pool import POOL_SIZE, base_students
from kdgym.tasks import SPLITS, Split, make_task
from kdgym.tasks.examination import draw_items, fixed_items
from kdgym.tasks.sources import PRICES, Sources

_MAX_LOSS = 10.0  # nats an answer token; an untrained student is at about 3
_TEST_ITEMS = 128
# Purposes of a student's random streams.
_BASE, _TARGET, _KIND, _PRICE, _VALIDATION, _SOURCE, _LESSON = range(7)


class DataGenSettings(Settings):
    """Arguments of `DataGen`; see there."""

    task: str = "Math"
    radix: int = 6
    student: str = "transformer"
    pool: Literal["train", "evaluation"] = "train"
    steps: int = Field(12, ge=1, le=1000)
    budget: float = Field(12 * 640.0, gt=0, le=1e9)
    sources: int = Field(4, ge=1, le=16)
    max_targets: int = Field(3, ge=1)
    validation_items: int = Field(64, ge=1, le=1024)
    reward: Literal["accuracy", "log_loss"] = "accuracy"
    device: str = "cpu"
    engine: Engine = "auto"


class DataGen(PopulationEnv):
    """Teach arithmetic by buying training data.

    ## Description
    Each student is a small transformer that can do a little of everything. An episode asks for one to three *target*
    skills. Every skill has several data engines (*sources*): some make clean items, some mostly wrong answers, some the
    same eight problems again and again. Which is which is hidden and drawn anew every episode; prices are visible and say
    nothing about quality. At each step the teacher splits the step's money over all skill x source pairs; the student
    trains once on what was bought, in random order, by AdamW, and sits an examination.

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
    A decoder-only transformer (one block, width 32, 12 thousand parameters) and AdamW, batches of 16, each item once.

    ## Budget
    ``budget`` units of money an episode. A step's allowance is the money left divided by the steps left; a source's items
    are ``floor(share * allowance / price)``, and at most ``budget / steps`` items fit into a lesson. What rounding leaves
    over stays in the account. More cannot be spent.

    ## Splits
    Items come from ``train``, rewards and observations from ``validation``, `examine` asks ``test``. The splits share no pair
    of operands, in any skill.

    ## Determinism
    Equal settings, seeds and actions give bitwise equal observations on one machine at one thread count. At one thread they
    do not depend on the other students of the population either.

    ## Headroom
    ``kdgym headroom kdgym/DataGen-Math-v0`` prints it; the README shows the table.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``task``: what is taught, ``"Math"``; ``radix``: base of its numerals, 3 to 10.
    * ``student``: the engine, ``"transformer"``.
    * ``pool``: base students, ``"train"`` or ``"evaluation"``; no student is in both.
    * ``steps``, ``budget``: length of an episode, and its money (an item costs 1 to 2).
    * ``sources``: data engines a skill.
    * ``max_targets``: most target skills of an episode.
    * ``validation_items``: validation items a skill.
    * ``reward``: ``"accuracy"`` or ``"log_loss"``.
    * ``device``: torch device of the whole population.
    * ``engine``: ``"torch"``, ``"kernel"`` (compiled, CPU only) or ``"auto"``; see `kdgym.students.TransformerStudents`.
    * ``render_mode``: ``None``, ``"rgb_array"`` or ``"human"``.
    * ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    def __init__(
        self, num_envs: int = 1, render_mode: str | None = None, autoreset: bool = True, **settings: Any
    ) -> None:
        self.config = config = DataGenSettings.parse(settings)
        self.task = make_task(config.task, radix=config.radix)
        self.students = make_students(config.student, self.task, config.device, config.engine)
        skills, sources, length = len(self.task.skills), config.sources, config.steps
        pairs = skills * sources
        if config.max_targets > skills:
            raise ValueError(f"max_targets is {config.max_targets}, but the task has only {skills} skills.")
        self.sources = Sources(self.task, sources, self.students.device)
        self._temperature = Shares(pairs).temperature
        self.steps, self.lesson_size = length, max(1, int(config.budget / length))
        self._examinations: dict[Split, Tensor] = {}
        f32, f64, i64 = torch.float32, torch.float64, torch.int64
        super().__init__(
            num_envs,
            observation_space=spaces.Dict(
                accuracy=spaces.Box(0, 1, (skills,)),
                loss=spaces.Box(0, _MAX_LOSS, (skills,)),
                change=spaces.Box(-1, 1, (skills,)),
                target=spaces.Box(0, 1, (skills,)),
                price=spaces.Box(min(PRICES), max(PRICES), (pairs,)),
                source_loss=spaces.Box(0, _MAX_LOSS, (pairs,)),
                source_loss_mean=spaces.Box(0, _MAX_LOSS, (pairs,)),
                source_spend=spaces.Box(0, 1, (pairs,)),
                budget=spaces.Box(0, 1, (1,)),
                time=spaces.Box(0, 1, (1,)),
            ),
            action_space=Shares(pairs),
            layout={
                "student": ((self.students.row,), self.students.dtype),
                "accuracy": ((skills,), f32),
                "loss": ((skills,), f32),
                "change": ((skills,), f32),
                "target": ((skills,), f32),
                "price": ((pairs,), f32),
                "source_loss": ((pairs,), f32),
                "start_loss": ((skills,), f32),
                "items": ((pairs,), f64),
                "money": ((pairs,), f64),
                "loss_sum": ((pairs,), f64),
                "kind": ((pairs,), i64),
                "validation": ((skills * config.validation_items,), i64),
                "accuracy_history": ((length + 1, skills), f32),
                "spending_history": ((length, pairs), f32),
            },
            settings={
                "family": "DataGen",
                "version": 0,
                **config.model_dump(),
                "sizes": [self.students.row, POOL_SIZE],
            },
            device=self.students.device,
            render_mode=render_mode,
            autoreset=autoreset,
        )
        self._everyone = torch.arange(num_envs, device=self.device)

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, config = self.state, self.config
        if restart == "base":
            base = random.integers(self.stream(_BASE)[rows], 1, POOL_SIZE).squeeze(1)
            state["student"][rows, : self.students.weights] = self._pool()[base]
        state["student"][rows, self.students.weights :] = 0
        state["target"][rows] = self._draw_targets(self.stream(_TARGET)[rows])
        state["kind"][rows] = self.sources.draw_kinds(self.stream(_KIND)[rows])
        state["price"][rows] = self.sources.draw_prices(self.stream(_PRICE)[rows])
        state["validation"][rows] = draw_items(
            self.task, "validation", self.stream(_VALIDATION)[rows], config.validation_items
        )
        for name in ("change", "items", "money", "loss_sum", "accuracy_history", "spending_history"):
            state[name][rows] = 0
        accuracy, loss = self._examine_validation(rows)
        state["accuracy"][rows], state["loss"][rows], state["start_loss"][rows] = accuracy, loss, loss
        state["source_loss"][rows] = loss.repeat_interleave(config.sources, dim=1)
        state["accuracy_history"][rows, 0] = accuracy

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, step, value = self.state, self.state["step"], self._value()
        count = self._buy(torch.softmax(self._temperature * action.double(), dim=1))
        total = count.sum(1)
        episode_key, step_key = self.stream(_SOURCE), self.stream(_LESSON, step)
        lesson = self.sources.make_items(state["kind"], count, self.lesson_size, episode_key, step_key)
        self._learn(*lesson, count, total)
        accuracy, loss = self._examine_validation(slice(None))
        state["change"] = accuracy - state["accuracy"]
        state["accuracy"], state["loss"] = accuracy, loss
        state["accuracy_history"][self._everyone, step + 1] = accuracy
        return self._value() - value, step + 1 >= self.config.steps

    def _observe(self) -> dict[str, Tensor]:
        state, config = self.state, self.config
        never = state["start_loss"].repeat_interleave(config.sources, dim=1)
        mean = (state["loss_sum"] / state["items"].clamp_min(1)).float()
        money_left = 1 - state["money"].sum(1) / config.budget
        return {
            **{name: state[name] for name in ("accuracy", "loss", "change", "target", "price", "source_loss")},
            "source_loss_mean": torch.where(state["items"] > 0, mean, never).clamp(0, _MAX_LOSS),
            "source_spend": state["money"] / config.budget,
            "budget": money_left.unsqueeze(1),
            "time": 1 - state["step"].unsqueeze(1) / config.steps,
        }

    def _buy(self, shares: Tensor) -> Tensor:
        """Spend this step's allowance: shares [S, K * M] -> items bought of each source, int64 [S, K * M]."""
        state, price = self.state, self.state["price"].double()
        steps_left = (self.config.steps - state["step"]).unsqueeze(1)
        allowance = (self.config.budget - state["money"].sum(1, keepdim=True)) / steps_left
        count = torch.floor(shares * allowance / price)
        room = self.lesson_size / count.sum(1, keepdim=True).clamp_min(1)
        count = torch.floor(count * room.clamp_max(1))
        money = count * price
        state["money"] += money
        state["spending_history"][self._everyone, state["step"]] = money.float()
        ledger.charge(state["ledger"], "data_engine", items=count.sum(1), money=money.sum(1))
        return count.long()

    def _learn(self, problem: Tensor, answer: Tensor, source: Tensor, count: Tensor, total: Tensor) -> None:
        """Train every student once on its items, and note what the items of each source were like."""
        state, students = self.state, self.students
        item_loss = students.train(state["student"], problem, answer, total).double()
        loss = torch.zeros_like(state["loss_sum"]).scatter_add_(1, source, item_loss)
        state["loss_sum"] += loss
        state["items"] += count
        last = (loss / count.clamp_min(1)).float().clamp(0, _MAX_LOSS)
        state["source_loss"] = torch.where(count > 0, last, state["source_loss"])
        tokens, flops = students.tokens_per_item * total, 3.0 * students.forward_flops * total
        ledger.charge(state["ledger"], "student_training", items=total, tokens=tokens, flops=flops)

    def _examine_validation(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Accuracy and loss per skill on the episode's validation items, float32 [rows, K] each; charged."""
        state, students, size = self.state, self.students, self.config.validation_items
        right, loss = students.evaluate(state["student"][rows], state["validation"][rows])
        n = right.shape[1]
        tokens, flops = n * students.tokens_per_item, n * students.forward_flops
        ledger.charge(state["ledger"], "student_inference", rows, items=n, tokens=tokens, flops=flops)
        loss = torch.nan_to_num(loss.float(), nan=_MAX_LOSS).unflatten(1, (-1, size)).mean(2).clamp(0, _MAX_LOSS)
        return right.float().unflatten(1, (-1, size)).mean(2), loss

    def _value(self) -> Tensor:
        """Target-weighted validation score [S]: what the reward is the change of."""
        score = self.state["accuracy"] if self.config.reward == "accuracy" else -self.state["loss"]
        return (self.state["target"].double() * score.double()).sum(1)

    # --- what an episode draws -----------------------------------------------------------------------------------

    def _pool(self) -> Tensor:
        recipe = {"task": [self.task.name, self.task.version, self.config.radix], **self.students.recipe}
        return base_students(self.students, self.config.pool, recipe)

    def _draw_targets(self, key: Tensor) -> Tensor:
        """One to ``max_targets`` skills with weights in proportion to 0.5 + uniform, summing to 1: float32 [rows, K]."""
        order = random.uniform(random.fold(key, 0), len(self.task.skills)).argsort(dim=1, stable=True).argsort(1)
        number = 1 + random.integers(random.fold(key, 1), 1, self.config.max_targets)
        weight = (0.5 + random.uniform(random.fold(key, 2), len(self.task.skills))) * (order < number)
        return (weight / weight.sum(1, keepdim=True)).float()

    # --- examination and pictures --------------------------------------------------------------------------------

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """An unaided examination on up to 128 fixed items a skill; changes nothing, charges nothing.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``.

        Returns:
            ``right`` and ``asked`` (int64 [S, K]), ``target`` (float32 [S, K]) and ``score`` (float64 [S], target-weighted
            accuracy).

        Raises:
            ValueError: there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
        if split not in self._examinations:
            self._examinations[split] = fixed_items(self.task, split, _TEST_ITEMS).to(self.device)
        items = self._examinations[split]
        right, _ = self.students.evaluate(self.state["student"], items.expand(self.num_envs, -1))
        skill = self.task.skill_of.to(self.device)[items]
        asked = torch.bincount(skill, minlength=len(self.task.skills)).expand(self.num_envs, -1)
        correct = torch.zeros_like(asked).scatter_add(1, skill.expand(self.num_envs, -1), right.long())
        score = (self.state["target"].double() * correct / asked).sum(1)
        result = {"right": correct, "asked": asked, "target": self.state["target"], "score": score}
        return {name: value.cpu().numpy().copy() for name, value in result.items()}

    def hidden(self) -> dict[str, Array]:
        """What the episode hides, for upper bounds only: ``kind`` of every source, index into `KINDS`, int64 [S, K * M]."""
        return {"kind": self.state["kind"].cpu().numpy().copy()}

    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far, for pictures and the terminal."""
        state, done = self.state, int(self.state["step"][student])
        spending = state["spending_history"][student, :done].unflatten(1, (-1, self.config.sources)).sum(2)
        return Lesson(
            skills=[skill.name for skill in self.task.skills],
            target=state["target"][student].cpu().numpy().copy(),
            accuracy=state["accuracy_history"][student, : done + 1].cpu().numpy().copy(),
            spending=spending.cpu().numpy().copy(),
            steps=self.config.steps,
            budget_left=float(1 - state["money"][student].sum() / self.config.budget),
        )

    def _branched(self, num_envs: int) -> DataGen:
        return DataGen(num_envs, autoreset=False, **self.config.model_dump())


class DataGenEnv(SingleEnv):
    __doc__ = DataGen.__doc__
    population = DataGen
