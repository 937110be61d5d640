"""Feedback: students practise by reinforcement, and the teacher decides which of their attempts to comment on, and how.

After ThinkTuning (RRV et al., EMNLP 2025), where a fixed fraction of a student's GRPO rollouts gets a teacher's feedback; here
the fraction, the attempts, the feedback and its weight in the loss are the teacher's action.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym import random
from kdgym.core import PopulationEnv, SingleEnv, ledger
from kdgym.core.examination import sit_examination
from kdgym.core.lesson import Lesson
from kdgym.core.population import Array
from kdgym.core.settings import Settings
from kdgym.core.validation import checked_choices
from kdgym.spaces import FeedbackMoves
from kdgym.students import check_device
from kdgym.students.careless import CarelessSchooling
from kdgym.students.policy_gradient import SHAPINGS, Objective, Rollouts, group_advantages, grpo_loss
from kdgym.students.pool import POOL_SIZE, base_students
from kdgym.students.practice import COLUMNS, attempt, summary, tally, uniform, written
from kdgym.students.reasoner import Reasoners
from kdgym.students.transformer import TransformerConfig, TransformerStudents
from kdgym.tasks import Split, make_task
from kdgym.tasks.examination import draw_items
from kdgym.tasks.feedback import KINDS, WHICH, choose_attempts, give_feedback
from kdgym.tasks.scratchpad import ERRORS, Scratchpad

MAX_LOSS = 10.0  # nats an answer token
# Purposes of a student's random streams.
_BASE, _VALIDATION, _PLACEMENT, _ATTEMPT, _CHOICE, _CONTINUATION = range(6)
# Base students who rarely succeed alone, and such who often do.
SCHOOLING = {
    "rarely": CarelessSchooling(16_384, 20_480, 0.0, habits=0.4, habit=(0.55, 0.8), slip=(0.02, 0.2)),
    "often": CarelessSchooling(16_384, 20_480, 0.0, habits=0.25, habit=(0.3, 0.6), slip=(0.02, 0.2)),
}
_LEVELS = {"fraction": 5, "length": 4, "weight": 3}  # of the discrete actions


class FeedbackSettings(Settings):
    """Arguments of `FeedbackMath`; see there."""

    task: Literal["Scratchpad"] = "Scratchpad"
    task_options: dict[str, int | float | str | bool] = {"radix": 6}
    pool: Literal["train", "evaluation"] = "train"
    succeed: Literal["rarely", "often"] = "rarely"
    steps: int = Field(8, ge=1, le=1000)
    updates: int = Field(8, ge=1, le=1000)
    group: int = Field(8, ge=2, le=256)
    budget: float = Field(8 * 8 * 500.0, gt=0, le=1e12)
    price: float = Field(1.0, ge=0, le=1000)
    feedback_cost: float = Field(0.05, ge=0, le=10)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    epochs: int = Field(1, ge=1, le=16)
    clip: float = Field(0.2, gt=0, le=1)
    kl: float = Field(0.0, ge=0, le=10)
    shaping_constant: float = Field(0.1, gt=0, le=10)
    validation_items: int = Field(32, ge=1, le=1024)
    reward: Literal["accuracy", "log_loss"] = "accuracy"
    actions: Literal["box", "discrete"] = "box"
    device: str = "cpu"


@dataclass(frozen=True)
class Decision:
    """A teacher's action, decoded: one entry a student."""

    fraction: Tensor
    which: Tensor
    kind: Tensor
    length: Tensor
    shaping: Tensor
    weight: Tensor


class FeedbackMath(PopulationEnv):
    """Teach by commenting on a student's own attempts.

    ## Description
    Each student is a small transformer that writes out arithmetic in steps, ``35 + 4 - 3`` as ``+4=43;-3=40.`` in base 6, and has
    bad habits: it knows every step, and yet copies a wrong operator or operand, miscounts, or forgets a carry, each student in
    its own way and often enough to fail (`kdgym.students.careless`). It practises by GRPO: at every update it tries one
    problem of each of K skills G times, by sampling; attempts at one problem are a group, their reward is whether the final
    answer is right, their advantage the reward's deviation from the group. The teacher decides for a whole step, ``updates``
    updates, which attempts to comment on and how. After a comment the student goes on writing, and this guided attempt takes
    the place of its own in the group (`kdgym.tasks.feedback`). The teacher's tokens enter the loss by a shaping of its choice
    (`kdgym.students.policy_gradient`).

    ## Action Space
    ``actions="box"``: `kdgym.spaces.FeedbackMoves`, a ``Box(-1, 1, (15,), float32)``:

    | entries | decision | meaning |
    |---|---|---|
    | 0 | fraction | of each group to comment on, from none at -1 to all at 1 |
    | 1-4 | which | the largest counts: wrong, mixed, random, stuck (`kdgym.tasks.feedback.choose_attempts`) |
    | 5-8 | kind | the largest counts: mark, next_step, prefix, full_solution |
    | 9 | length | of next_step and prefix, from one step at -1 to all of them at 1 |
    | 10-13 | shaping | the largest counts: mask, plain, ratio, advantage_aware |
    | 14 | weight | of the teacher's tokens in the loss, from 0 at -1 to 1 at 1 |

    ``actions="discrete"``: ``MultiDiscrete([5, 4, 4, 4, 4, 3])``, the same decisions; amounts are evenly spaced levels.

    ## Observation Space
    A ``Dict`` of float32 boxes; K skills, by number of steps and whether any carries:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (K,) | [0, 1] | unguided greedy accuracy on the episode's validation items |
    | loss | (K,) | [0, 10] | loss of their written-out solutions, nats a token |
    | change | (K,) | [-1, 1] | accuracy minus accuracy one step ago |
    | success | (K,) | [0, 1] | share of the student's own sampled attempts in the last step that were right |
    | guided_success | (K,) | [0, 1] | share of the guided attempts that ended right; 0 where there were none |
    | no_signal | (K,) | [0, 1] | share of the groups that ended all right or all wrong |
    | entropy | (K,) | [0, 10] | mean surprise at the own tokens, an estimate of the entropy, nats |
    | errors | (K * 5,) | [0, 1] | share of the attempts whose first error was of each kind (`kdgym.tasks.scratchpad.ERRORS`) |
    | feedback | (1,) | [0, 1] | share of the budget spent on feedback so far |
    | budget | (1,) | [0, 1] | share of the budget left |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    Change of the validation accuracy, mean over the skills (``reward="accuracy"``), or of minus the validation loss
    (``"log_loss"``), minus ``feedback_cost`` times the share of the budget that this step's feedback took.

    ## Starting State
    A base student of the pool (``succeed="rarely"``: about a fifth of the answers are right; ``"often"``: most are), fresh
    optimiser. What the teacher sees first is from one round of attempts that are neither paid for nor learned from.
    ``reset(options={"restart": "continue"})`` keeps the weights.

    ## Episode End
    ``terminated`` after ``steps`` steps. Never truncated.

    ## Student
    As in DataGen (12 thousand weights), sampled at temperature 1 with a key-value cache.

    ## Budget
    ``budget`` tokens an episode: of attempts, of what follows feedback, and of feedback at ``price`` each. An update may spend
    what is left divided by the updates left; groups are held one after another as long as it lasts. The default lets a silent
    teacher hold nearly all; whoever speaks holds fewer.

    ## Splits
    Students practise on ``train``, rewards and observations come from ``validation``, `examine` asks ``test``; no problem
    continues one of another split. No feedback is ever given in an examination.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. Another
    population may differ by rounding, which may change a sampled token.

    ## Headroom
    ``docs/feedback.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``task_options``: of `kdgym.tasks.scratchpad.Scratchpad`.
    * ``pool``: base students, ``"train"`` or ``"evaluation"``; ``succeed``: ``"rarely"`` or ``"often"``.
    * ``steps``, ``updates``, ``group``: steps of an episode, updates of a step, attempts G of a group.
    * ``budget``, ``price``, ``feedback_cost``: as above.
    * ``learning_rate``, ``epochs``, ``clip``, ``kl``: of GRPO: ``epochs`` AdamW steps an update, ``kl`` weighs the divergence
      from the base student.
    * ``shaping_constant``: c of pi / (pi + c).
    * ``validation_items``: a skill; ``reward``, ``actions``: as above; ``device``: of the population.
    * ``render_mode``, ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    recorded = False  # how many attempts are continued is known on the host alone

    def __init__(
        self, num_envs: int = 1, render_mode: str | None = None, autoreset: bool = True, **settings: Any
    ) -> None:
        self.config = config = FeedbackSettings.parse(settings)
        self.steps = config.steps
        task = make_task(config.task, **config.task_options)
        assert isinstance(task, Scratchpad)
        self.task, k = task, len(task.skills)
        self.students = TransformerStudents(task, TransformerConfig(), check_device(config.device))
        self.reasoners = Reasoners(self.students, config.learning_rate)
        self.objective = Objective(config.clip, config.kl, config.shaping_constant)
        self.moves = FeedbackMoves(
            {"fraction": (), "which": WHICH, "kind": KINDS, "length": (), "shaping": SHAPINGS, "weight": ()}
        )
        discrete = spaces.MultiDiscrete(
            [_LEVELS.get(name, len(options)) for name, options in self.moves.choices.items()]
        )
        unit, per_skill = spaces.Box(0, 1, (1,)), spaces.Box(0, 1, (k,))
        seen = {"success": k, "guided_success": k, "no_signal": k, "entropy": k, "errors": k * len(ERRORS)}
        f32 = torch.float32
        super().__init__(
            num_envs,
            observation_space=spaces.Dict(
                {
                    "accuracy": per_skill,
                    "loss": spaces.Box(0, MAX_LOSS, (k,)),
                    "change": spaces.Box(-1, 1, (k,)),
                    **{name: spaces.Box(0, MAX_LOSS if name == "entropy" else 1, (n,)) for name, n in seen.items()},
                    "feedback": unit,
                    "budget": unit,
                    "time": unit,
                }
            ),
            action_space=self.moves if config.actions == "box" else discrete,
            layout={
                "student": ((self.students.row,), f32),
                "base": ((), torch.int64),
                "validation": ((k * config.validation_items,), torch.int64),
                **dict.fromkeys(("accuracy", "loss", "change"), ((k,), f32)),
                **{name: ((n,), f32) for name, n in seen.items()},
                "spent": ((), torch.float64),
                "feedback": ((), torch.float64),
                "accuracy_history": ((config.steps + 1, k), f32),
                "feedback_history": ((config.steps, k), f32),
            },
            settings={
                "family": "Feedback",
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
        state, students = self.state, self.students
        if restart == "base":
            state["base"][rows] = random.integers(self.stream(_BASE)[rows], 1, POOL_SIZE).squeeze(1)
            state["student"][rows, : students.weights] = self._pool()[state["base"][rows]]
        state["student"][rows, students.weights :] = 0
        state["validation"][rows] = draw_items(
            self.task, "validation", self.stream(_VALIDATION)[rows], self.config.validation_items
        )
        for name in ("change", "spent", "feedback", "accuracy_history", "feedback_history"):
            state[name][rows] = 0
        accuracy, loss = self._examine_validation(rows)
        state["accuracy"][rows], state["loss"][rows] = accuracy, loss
        state["accuracy_history"][rows, 0] = accuracy
        first = attempt(
            self.reasoners, self.task, state["student"][rows], self.stream(_PLACEMENT)[rows], self.config.group
        )
        nothing = torch.zeros_like(first.right)
        self._show(rows, tally(self.task, first, nothing, first.right, nothing, nothing[:, :, 0] == 0))
        self._charge_inference(rows, first.right[0].numel(), written(self.task, first.tokens).sum((1, 2)))

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, config, value = self.state, self.config, self._value()
        decision, before = self._decide(action), state["feedback"].clone()
        total = torch.stack([self._practise(decision, update) for update in range(config.updates)]).sum(0)
        self._show(slice(None), total)
        state["feedback_history"][self._everyone, state["step"]] = total[:, :, COLUMNS.index("feedback")].float()
        accuracy, loss = self._examine_validation(slice(None))
        state["change"] = accuracy - state["accuracy"]
        state["accuracy"], state["loss"] = accuracy, loss
        state["accuracy_history"][self._everyone, state["step"] + 1] = accuracy
        cost = config.feedback_cost * config.price * (state["feedback"] - before) / config.budget
        return self._value() - value - cost, state["step"] + 1 >= config.steps

    def _practise(self, decision: Decision, update: int) -> Tensor:
        """One update: attempts in groups, feedback on some, the students go on from it, and learn from all of them."""
        state, task, at = self.state, self.task, self.state["step"] * self.config.updates + update
        tried = attempt(self.reasoners, task, state["student"], self.stream(_ATTEMPT, at), self.config.group)
        chosen = choose_attempts(self.stream(_CHOICE, at), tried.right, decision.fraction, decision.which).flatten(1)
        said = give_feedback(task, tried.problem, tried.tokens, tried.right.flatten(1), decision.kind, decision.length)
        guided = chosen & (said.given > said.own)
        chance = uniform(self.stream(_CONTINUATION, at), tuple(tried.tokens.shape))
        resumed = self.reasoners.resume(state["student"], tried.problem, chance, said.tokens, said.given, guided)
        tokens = torch.where(guided.unsqueeze(2), resumed[0], tried.tokens)
        log_p = torch.where(guided.unsqueeze(2), resumed[1], tried.log_p)
        feedback = said.mask & guided.unsqueeze(2)
        rollouts = Rollouts(tried.problem, tokens, log_p, written(task, tokens), feedback)
        continued = (rollouts.valid.sum(2) - said.given).clamp_min(0) * guided
        held = self._pay(written(task, tried.tokens).sum(2), continued, feedback.sum(2), update)
        right = task.judge(tried.problem, tokens).view_as(tried.right)
        self._learn(rollouts, group_advantages(right.float()).flatten(1), held, decision)
        return tally(task, tried, guided.view_as(right), right, feedback.sum(2).view_as(right), held)

    def _pay(self, attempts: Tensor, continued: Tensor, feedback: Tensor, update: int) -> Tensor:
        """Hold groups in order as long as this update's allowance lasts: tokens [S, B] each -> bool [S, P]. Charged."""
        state, config = self.state, self.config
        left = config.steps * config.updates - state["step"] * config.updates - update
        tokens = torch.stack([attempts, continued, feedback]).unflatten(2, (-1, config.group)).sum(3).double()
        price = tokens[0] + tokens[1] + config.price * tokens[2]
        held = price.cumsum(1) <= ((config.budget - state["spent"]) / left).unsqueeze(1)
        attempts, continued, feedback = (tokens * held).sum(2)
        guided_groups = held.sum(1) * config.group
        state["spent"] += (price * held).sum(1)
        state["feedback"] += feedback
        self._charge_inference(slice(None), guided_groups, attempts + continued)
        ledger.charge(state["ledger"], "teacher", tokens=feedback, money=config.price * feedback)
        return held

    def _learn(self, rollouts: Rollouts, advantage: Tensor, held: Tensor, decision: Decision) -> None:
        """GRPO on the groups that were held."""
        state, config = self.state, self.config
        counted, base = held.repeat_interleave(config.group, dim=1), None
        if config.kl > 0:
            base = self.reasoners.log_p(self._pool()[state["base"]], rollouts.problem, rollouts.tokens)

        def loss(log_p: Tensor) -> Tensor:
            shaping, weight = decision.shaping, decision.weight
            return grpo_loss(log_p, rollouts, advantage, counted, shaping, weight, self.objective, base)

        for _ in range(config.epochs):
            self.reasoners.update(state["student"], rollouts.problem, rollouts.tokens, loss, held.any(1))
        items = config.epochs * counted.sum(1)
        tokens, flops = items * self.students.tokens_per_item, 3.0 * self.students.forward_flops * items
        ledger.charge(state["ledger"], "student_training", items=items, tokens=tokens, flops=flops)

    def _observe(self) -> dict[str, Tensor]:
        state, config = self.state, self.config
        names = ("accuracy", "loss", "change", "success", "guided_success", "no_signal", "entropy", "errors")
        return {
            **{name: state[name] for name in names},
            "feedback": (config.price * state["feedback"] / config.budget).unsqueeze(1),
            "budget": (1 - state["spent"] / config.budget).unsqueeze(1),
            "time": 1 - state["step"].unsqueeze(1) / config.steps,
        }

    def _show(self, rows: Tensor | slice, total: Tensor) -> None:
        """Keep what teachers see of a tally [rows, K, columns]; of skills that nobody practised, they see the last time."""
        practised = total[:, :, COLUMNS.index("groups")] > 0
        for name, value in summary(total, self.config.group).items():
            known = practised.repeat_interleave(value.shape[1] // practised.shape[1], dim=1)
            self.state[name][rows] = torch.where(known, value.float(), self.state[name][rows]).clamp(0, MAX_LOSS)

    # --- actions -------------------------------------------------------------------------------------------------

    def _receive(self, actions: Array) -> Tensor:
        if self.config.actions == "box":
            return super()._receive(actions)
        assert isinstance(self.single_action_space, spaces.MultiDiscrete)
        chosen = checked_choices(actions, self.num_envs, self.single_action_space)
        decisions = dict(zip(self.moves.choices, chosen.T, strict=True))
        for name, levels in _LEVELS.items():
            decisions[name] = decisions[name] / (levels - 1)
        return torch.from_numpy(self.moves.encode(self.num_envs, **decisions)).to(self.device)

    def _decide(self, action: Tensor) -> Decision:
        """The action's amounts within [0, 1], or whole steps, and its choices."""
        sizes = [max(1, len(options)) for options in self.moves.choices.values()]
        parts = [(part.squeeze(1) + 1) / 2 if part.shape[1] == 1 else part.argmax(1) for part in action.split(sizes, 1)]
        decision = dict(zip(self.moves.choices, parts, strict=True))
        most = self.task.steps
        decision["length"] = 1 + (decision["length"] * most).long().clamp_max(most - 1)
        return Decision(**decision)

    # --- examination ---------------------------------------------------------------------------------------------

    def _pool(self) -> Tensor:
        schooling, options = SCHOOLING[self.config.succeed], sorted(self.config.task_options.items())
        recipe = {"task": [self.task.name, self.task.version, options], "schooling": asdict(schooling)}
        return base_students(self.students, self.config.pool, {**recipe, **self.students.recipe}, schooling)

    def _examine_validation(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Unguided accuracy and loss per skill on the episode's validation items, float32 [rows, K] each; charged."""
        state, size = self.state, self.config.validation_items
        right, loss = self.reasoners.evaluate(state["student"][rows], state["validation"][rows])
        self._charge_inference(rows, right.shape[1], float(right.shape[1] * self.students.tokens_per_item))
        loss = torch.nan_to_num(loss.float(), nan=MAX_LOSS).unflatten(1, (-1, size)).mean(2).clamp(0, MAX_LOSS)
        return right.float().unflatten(1, (-1, size)).mean(2), loss

    def _charge_inference(self, rows: Tensor | slice, items: Tensor | int, tokens: Tensor | float) -> None:
        flops = self.students.forward_flops * items
        ledger.charge(self.state["ledger"], "student_inference", rows, items=items, tokens=tokens, flops=flops)

    def _value(self) -> Tensor:
        """What the reward is the change of, float64 [S]."""
        state = self.state
        return (state["accuracy"] if self.config.reward == "accuracy" else -state["loss"]).double().mean(1)

    def score(self) -> npt.NDArray[np.float64]:
        """Unguided validation accuracy now, the mean over skills, [S]."""
        value: npt.NDArray[np.float64] = self.state["accuracy"].double().mean(1).cpu().numpy()
        return value

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """An unguided examination on up to 128 fixed items a skill; see `kdgym.core.examination.sit_examination`."""
        state = self.state
        target = torch.full_like(state["accuracy"], 1 / len(self.task.skills))
        return sit_examination(self.task, split, self.reasoners.evaluate, state["student"], target)

    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far, for pictures and the terminal."""
        state, done, k = self.state, int(self.state["step"][student]), len(self.task.skills)
        return Lesson(
            skills=[skill.name for skill in self.task.skills],
            target=np.full(k, 1 / k, dtype=np.float32),
            accuracy=state["accuracy_history"][student, : done + 1].cpu().numpy().copy(),
            spending=state["feedback_history"][student, :done].cpu().numpy().copy(),
            steps=self.config.steps,
            budget_left=float(1 - state["spent"][student] / self.config.budget),
            unit="feedback",
        )

    def _branched(self, num_envs: int) -> PopulationEnv:
        return FeedbackMath(num_envs, autoreset=False, **self.config.model_dump())


class FeedbackMathEnv(SingleEnv):
    __doc__ = FeedbackMath.__doc__
    population = FeedbackMath
