"""A course: students with goals, a budget, and an examination after every step. What all levels of DataGen share.

A level adds what the teacher sees and how its action becomes training items.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from kdgym import random
from kdgym.core import ledger
from kdgym.core.course_settings import CourseSettings
from kdgym.core.examiner import Examiner
from kdgym.core.fields import Layout
from kdgym.core.misconceptions import Misconceptions
from kdgym.core.population import Array, PopulationEnv
from kdgym.core.rendering import Lesson
from kdgym.students import Students, Tables, is_language_model, make_students
from kdgym.tasks import Split, Task, make_task
from kdgym.tasks.examination import draw_items
from kdgym.tasks.views.discovery import under_skills
from kdgym.tasks.views.placebo import Placebo

MAX_LOSS = 10.0  # nats an answer token; an untrained student is at about 3
# Purposes of a student's random streams; a level's own begin after them. Those below 0 are for what leaves no trace.
_BASE, _TARGET, _VALIDATION, LEVEL = range(4)
_UNRELATED, _PRACTICE = -1, -2
_PLACEBO = 1 << 20  # far from every level's own


class Course(PopulationEnv):
    """Base students from a pool, target skills drawn anew every episode, money to be spent, validation after every step.

    A level calls `_prepare` first: K, the number of the task's skills, decides the size of its spaces.

    Args:
        num_envs: number of students S.
        observation_space: the level's own boxes, beside those of the course (accuracy, loss, change, target, budget, time).
        action_space: the level's.
        layout: the level's own state.
        render_mode, autoreset, text_space: see `PopulationEnv`.

    Attributes:
        metadata: with ``skills``, a list of name, description and names of prerequisites in the order of all per-skill
            arrays, unless the level keeps them to itself (``skills_are_named``).

    Raises:
        ValueError: a setting does not fit the task.
    """

    config: CourseSettings
    family: ClassVar[str] = "DataGen"
    level: ClassVar[str]
    currency: ClassVar[str] = "money"  # what a budget is of
    skills_are_named: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int,
        observation_space: dict[str, spaces.Space[Any]],
        action_space: spaces.Space[Any],
        layout: Layout,
        render_mode: str | None,
        autoreset: bool,
        text_space: spaces.Text | None = None,
    ) -> None:
        config, skills = self.config, len(self.task.skills)
        if config.max_targets > skills:
            raise ValueError(f"max_targets is {config.max_targets}, but the task has only {skills} skills.")
        self.steps, self.lesson_size = config.steps, max(1, int(config.budget / config.steps))
        self._examiner = Examiner(self.students, config.test_items, config.test_draw)
        f32, f64, i64 = torch.float32, torch.float64, torch.int64
        super().__init__(
            num_envs,
            observation_space=spaces.Dict(
                {
                    "accuracy": spaces.Box(0, 1, (skills,)),
                    "loss": spaces.Box(0, MAX_LOSS, (skills,)),
                    "change": spaces.Box(-1, 1, (skills,)),
                    "target": spaces.Box(0, 1, (skills,)),
                    **observation_space,
                    "budget": spaces.Box(0, 1, (1,)),
                    "time": spaces.Box(0, 1, (1,)),
                }
            ),
            action_space=action_space,
            layout={
                "student": ((self.students.row,), self.students.dtype),
                "accuracy": ((skills,), f32),
                "loss": ((skills,), f32),
                "change": ((skills,), f32),
                "target": ((skills,), f32),
                "spent": ((), f64),
                "validation": ((skills * config.validation_items,), i64),
                "accuracy_history": ((config.steps + 1, skills), f32),
                "spending_history": ((config.steps, skills), f32),
                **(self.misconceptions.layout if self.misconceptions else {}),
                **layout,
            },
            settings={
                "family": self.family,
                "level": self.level,
                "version": 0,
                **config.model_dump(mode="json"),
                "edition": self.task.edition,
                "row": self.students.row,
            },
            device=self.students.device,
            render_mode=render_mode,
            autoreset=autoreset,
            text_space=text_space,
        )
        if self.skills_are_named:
            self.metadata["skills"] = [
                {"name": s.name, "description": s.description, "prerequisites": list(s.prerequisites)}
                for s in self.task.skills
            ]
        self._everyone = torch.arange(num_envs, device=self.device)
        self._placebo = Placebo(self.task, self.device) if config.placebo else None

    def _prepare(self, config: CourseSettings) -> None:
        """Task and students; a level needs them to say how large its spaces are."""
        own = make_task(config.task, **config.task_options)
        self.task = own if config.skills is None else under_skills(own, config.skills)
        if "max_targets" not in config.model_fields_set:
            config = config.model_copy(update={"max_targets": min(config.max_targets, len(self.task.skills))})
        self.config = config
        self.students = self._make_students(self.task)
        # Base students went to school before anybody grouped their problems anew: they are the same under either view.
        self._schooled = self.students if self.task is own else self._make_students(own)
        self.recorded = self.recorded and self.students.recordable
        if config.misconceptions and is_language_model(config.student):
            raise ValueError("Language models are not schooled in misconceptions; use student='transformer'.")
        self.misconceptions = (
            Misconceptions(self.students, config.pool, config.misconceptions) if config.misconceptions else None
        )

    def _make_students(self, task: Task) -> Students:
        c = self.config
        return make_students(c.student, task, c.device, c.engine, c.dtype, c.student_options)

    # --- what a level defines ------------------------------------------------------------------------------------

    @abstractmethod
    def _begin_level(self, rows: Tensor) -> None:
        """Start the level's own state of the students ``rows``; accuracy and loss are known."""

    @abstractmethod
    def _give_lesson(self, action: Tensor) -> None:
        """Spend the step's allowance on items and train the students on them."""

    @abstractmethod
    def _observe_level(self) -> dict[str, Tensor]:
        """The level's own part of the observation."""

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, students = self.state, self.students
        if restart == "base":
            options = sorted(self.config.task_options.items())
            recipe = {"task": [self.task.name, self.task.version, self.task.edition, options]}
            key = self.stream(_BASE)[rows]
            if self.misconceptions:
                base, state["held"][rows] = self.misconceptions.draw_base(key, recipe)
            else:
                base = self._draw_base(key, recipe)
            state["student"][rows, : students.weights] = base
        state["student"][rows, students.weights :] = 0
        if self.misconceptions:
            state["start"][rows] = state["student"][rows, : students.weights]
        state["target"][rows] = self._draw_targets(self.stream(_TARGET)[rows])
        key = self.stream(_VALIDATION)[rows]
        state["validation"][rows] = draw_items(self.task, "validation", key, self.config.validation_items)
        for name in ("change", "spent", "accuracy_history", "spending_history"):
            state[name][rows] = 0
        accuracy, loss = self._examine_validation(rows)
        state["accuracy"][rows], state["loss"][rows] = accuracy, loss
        state["accuracy_history"][rows, 0] = accuracy
        self._begin_level(rows)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, step, value = self.state, self.state["step"], self._value()
        self._give_lesson(action)
        accuracy, loss = self._examine_validation(slice(None))
        state["change"] = accuracy - state["accuracy"]
        state["accuracy"], state["loss"] = accuracy, loss
        state["accuracy_history"][self._everyone, step + 1] = accuracy
        return self._value() - value, step + 1 >= self.config.steps

    def _observe(self) -> dict[str, Tensor]:
        state, config = self.state, self.config
        return {
            **{name: state[name] for name in ("accuracy", "loss", "change", "target")},
            **self._observe_level(),
            "budget": (1 - state["spent"] / config.budget).unsqueeze(1),
            "time": 1 - state["step"].unsqueeze(1) / config.steps,
        }

    def _allowance(self) -> Tensor:
        """Money for this step: what is left, divided by the steps left, float64 [S]."""
        return (self.config.budget - self.state["spent"]) / (self.config.steps - self.state["step"])

    def _pay(self, items: Tensor, money: Tensor) -> None:
        """Take ``money`` [S, K], by skill, for ``items`` [S]."""
        state = self.state
        state["spent"] += money.sum(1)
        state["spending_history"][self._everyone, state["step"]] = money.float()
        ledger.charge(state["ledger"], "data_engine", items=items, money=money.sum(1))

    def _train(self, problem: Tensor, answer: Tensor, total: Tensor, tables: Tables | None = None) -> Tensor:
        """Train every student once on its first ``total`` items; the items' losses before, float64 [S, N]. Charged."""
        students = self.students
        if self._placebo is not None:
            answer = self._placebo.answers(problem, answer, total, self.stream(_PLACEBO, self.state["step"]))
        loss = students.train(self.state["student"], problem, answer, total, tables).double()
        learned = torch.arange(problem.shape[1], device=self.device) < total.unsqueeze(1)
        tokens = (students.tokens(problem, answer, tables) * learned).sum(1)
        flops = students.training_flops * students.flops_per_token * tokens
        ledger.charge(self.state["ledger"], "student_training", items=total, tokens=tokens, flops=flops)
        return loss

    def _examine_validation(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Accuracy and loss per skill on the episode's validation items, float32 [rows, K] each; charged."""
        state, students, size = self.state, self.students, self.config.validation_items
        right, loss = students.evaluate(state["student"][rows], state["validation"][rows])
        self._charge_inference(rows, state["validation"][rows])
        loss = torch.nan_to_num(loss.float(), nan=MAX_LOSS).unflatten(1, (-1, size)).mean(2).clamp(0, MAX_LOSS)
        return right.float().unflatten(1, (-1, size)).mean(2), loss

    def _charge_inference(self, rows: Tensor | slice, problem: Tensor) -> None:
        """Bill these students for answering problems [rows, N]."""
        tokens = self.students.tokens(problem).sum(1)
        flops = self.students.flops_per_token * tokens
        ledger.charge(
            self.state["ledger"], "student_inference", rows, items=problem.shape[1], tokens=tokens, flops=flops
        )

    def _value(self) -> Tensor:
        """Target-weighted validation score [S]: what the reward is the change of."""
        return self._on_target(self.state["accuracy"] if self.config.reward == "accuracy" else -self.state["loss"])

    def _on_target(self, per_skill: Tensor) -> Tensor:
        """Weighted by what each skill counts, float64: [S, K] -> [S]."""
        return (self.state["target"].double() * per_skill.double()).sum(1)

    # --- what an episode draws -----------------------------------------------------------------------------------

    def _draw_base(self, key: Tensor, recipe: dict[str, Any]) -> Tensor:
        """Base students, one a key: weights [rows, weights]."""
        return self._schooled.draw_base(key, self.config.pool, recipe)

    def _draw_targets(self, key: Tensor) -> Tensor:
        """What every skill counts for, float32 [rows, K]."""
        return draw_targets(key, len(self.task.skills), self.config.max_targets)

    def score(self) -> npt.NDArray[np.float64]:
        """Target-weighted validation accuracy now, [S]."""
        value: npt.NDArray[np.float64] = self._on_target(self.state["accuracy"]).cpu().numpy()
        return value

    # --- examination and pictures --------------------------------------------------------------------------------

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """An unaided examination on up to ``test_items`` fixed items a skill; changes nothing, charges nothing.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``.

        Returns:
            ``right`` and ``asked`` (int64 [S, K]), ``target`` (float32 [S, K]) and ``score`` (float64 [S], target-weighted
            accuracy).

        Raises:
            ValueError: there is no such split.
        """
        correct, asked = self._examiner.mark(self.state["student"], split)
        score = (self.state["target"].double() * correct / asked).sum(1)
        return _on_host({"right": correct, "asked": asked, "target": self.state["target"], "score": score})

    def outcome(self) -> dict[str, Array]:
        """What became of misconceptions, where students have any; see `examine_misconceptions`."""
        return self.examine_misconceptions() if self.misconceptions else {}

    def examine_misconceptions(self, split: Split = "test") -> dict[str, Array]:
        """What became of the wrong rules that students began the episode with; for who scores teachers, not for teachers.

        Args:
            split: see `examine`; the items are the same.

        Returns:
            See `kdgym.core.misconceptions.Misconceptions.examine`.

        Raises:
            ValueError: the environment has no misconceptions, or there is no such split.
        """
        if self.misconceptions is None:
            raise ValueError("These students have no misconceptions; make the environment with misconceptions=2, say.")
        return _on_host(self.misconceptions.examine(self.state, self._examiner.items(split)))

    def examine_retention(self, items: int, split: Split = "test") -> dict[str, Array]:
        """What is left of the targets after unrelated training; on copies, so that it changes nothing and charges nothing.

        Args:
            items: right items each copy learns, in equal shares of the skills that are no target of its episode.
            split: see `examine`.

        Returns:
            ``before`` and ``after`` that training: target-weighted accuracy, float64 [S]. Retention is after over before.

        Raises:
            ValueError: ``items`` is below 1, a student has no skill that is no target, or there is no such split.
        """
        unrelated = (self.state["target"] == 0).double()
        if not unrelated.any(1).all():
            raise ValueError(
                "Every skill is a target of some student, so no training is unrelated; choose a smaller max_targets."
            )
        accuracy = self._examiner.practise(self.state["student"], self.stream(_UNRELATED), unrelated, items, split)
        before, after = map(self._on_target, accuracy)
        return _on_host({"before": before, "after": after})

    def examine_practice(self, skill: int, items: int, split: Split = "test") -> dict[str, Array]:
        """What practising one skill changes in every skill; on copies, so that it changes nothing and charges nothing.

        Args:
            skill: index of the skill that each copy practises.
            items: right items it learns.
            split: see `examine`.

        Returns:
            ``before`` and ``after`` that practice: accuracy, float64 [S, K].

        Raises:
            ValueError: ``items`` is below 1, or there is no such skill or split.
        """
        if not 0 <= skill < len(self.task.skills):
            raise ValueError(f"skill is {skill}; choose from 0 to {len(self.task.skills) - 1}.")
        share = torch.zeros_like(self.state["target"], dtype=torch.float64)
        share[:, skill] = 1
        accuracy = self._examiner.practise(self.state["student"], self.stream(_PRACTICE), share, items, split)
        return _on_host(dict(zip(("before", "after"), accuracy, strict=True)))

    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far, for pictures and the terminal."""
        state, done = self.state, int(self.state["step"][student])
        return Lesson(
            skills=[skill.name for skill in self.task.skills],
            target=state["target"][student].cpu().numpy().copy(),
            accuracy=state["accuracy_history"][student, : done + 1].cpu().numpy().copy(),
            spending=state["spending_history"][student, :done].cpu().numpy().copy(),
            steps=self.config.steps,
            budget_left=float(1 - state["spent"][student] / self.config.budget),
            currency=self.currency,
        )

    def _branched(self, num_envs: int) -> PopulationEnv:
        level: Any = type(self)
        population: PopulationEnv = level(num_envs, autoreset=False, **self.config.model_dump())
        return population


def draw_targets(key: Tensor, skills: int, most: int) -> Tensor:
    """One to ``most`` of so many skills, in proportion to 0.5 + uniform, summing to 1: keys [n] -> float32 [n, skills]."""
    order = random.uniform(random.fold(key, 0), skills).argsort(dim=1, stable=True).argsort(1)
    number = 1 + random.integers(random.fold(key, 1), 1, most)
    weight = (0.5 + random.uniform(random.fold(key, 2), skills)) * (order < number)
    return (weight / weight.sum(1, keepdim=True)).float()


def _on_host(result: dict[str, Tensor]) -> dict[str, Array]:
    return {name: value.cpu().numpy().copy() for name, value in result.items()}
