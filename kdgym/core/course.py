"""A course: what environments have in common whose students learn the skills of a task. They hold it as a value.

`Course` knows the task, the students and the budget, and has one method for each thing that happens to a student: it begins an
episode, pays, trains, sits the validation. It reads and changes a population's state, which is passed in, and keeps none.
`CourseEnv` is the population that takes a course. An environment's page says what the teacher sees and how its action
becomes training items.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from kdgym import random
from kdgym.core import ledger
from kdgym.core.course_settings import CourseSettings
from kdgym.core.examiner import Examiner
from kdgym.core.fields import Fields, Layout
from kdgym.core.misconceptions import Misconceptions
from kdgym.core.population import Array, PopulationEnv
from kdgym.core.rendering import Lesson
from kdgym.students import Batch, Students, Tables, is_language_model, make_students
from kdgym.tasks import Split, Task, make_task
from kdgym.tasks.examination import draw_items
from kdgym.tasks.views.discovery import under_skills
from kdgym.tasks.views.placebo import Placebo

MAX_LOSS = 10.0  # nats an answer token; an untrained student is at about 3
# Purposes of a student's random streams; a page's own begin after them. Those below 0 are for what leaves no trace.
_BASE, TARGET, _VALIDATION, FIRST_PURPOSE = range(4)
_UNRELATED, _PRACTICE = -1, -2
_PLACEBO = 1 << 20  # far from every page's own

Config_co = TypeVar("Config_co", bound=CourseSettings, covariant=True)


class Course(Generic[Config_co]):
    """A task, base students from a pool, target skills, a budget, and a validation after every step.

    Args:
        config: its settings. ``max_targets`` that is not given becomes at most the number of skills.

    Attributes:
        config: the settings, completed.
        task: what is taught, K skills.
        students: the engine.
        misconceptions: of the base students, where they have some.
        examiner: asks the items of fixed examinations.
        step_items: room for so many items in a step.
        layout: fields of a student's state.

    Raises:
        ValueError: a setting does not fit the task or the students.
    """

    def __init__(self, config: Config_co) -> None:
        own = make_task(config.task, **config.task_options)
        self.task: Task = own if config.skills is None else under_skills(own, config.skills)
        skills = len(self.task.skills)
        if "max_targets" not in config.model_fields_set:
            config = config.model_copy(update={"max_targets": min(config.max_targets, skills)})
        if config.max_targets > skills:
            raise ValueError(f"max_targets is {config.max_targets}, but the task has only {skills} skills.")
        if config.misconceptions and is_language_model(config.student):
            raise ValueError("Language models are not pretrained with misconceptions; use student='transformer'.")
        self.config: Config_co = config
        self.students = self._make_students(self.task)
        # Base students were pretrained before their problems were grouped anew: they are the same under either view.
        self._pretrained = self.students if self.task is own else self._make_students(own)
        self.misconceptions = (
            Misconceptions(self.students, config.pool, config.misconceptions) if config.misconceptions else None
        )
        self.examiner = Examiner(self.students, config.test_items, config.test_draw)
        self.step_items = max(1, int(config.budget / config.steps))
        self._placebo = Placebo(self.task, self.students.device) if config.placebo else None
        f32, f64, i64 = torch.float32, torch.float64, torch.int64
        self.layout: Layout = {
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
        }

    def _make_students(self, task: Task) -> Students:
        c = self.config
        return make_students(c.student, task, c.device, c.engine, c.dtype, c.student_options)

    def observation_space(self, own: dict[str, spaces.Space[Any]]) -> spaces.Dict:
        """The boxes of every course, around those of a page."""
        skills = len(self.task.skills)
        return spaces.Dict(
            {
                "accuracy": spaces.Box(0, 1, (skills,)),
                "loss": spaces.Box(0, MAX_LOSS, (skills,)),
                "change": spaces.Box(-1, 1, (skills,)),
                "target": spaces.Box(0, 1, (skills,)),
                **own,
                "budget": spaces.Box(0, 1, (1,)),
                "time": spaces.Box(0, 1, (1,)),
            }
        )

    def observe(self, state: Fields) -> dict[str, Tensor]:
        """What is in those boxes, float32 [S, n] each."""
        return {
            **{name: state[name] for name in ("accuracy", "loss", "change", "target")},
            "budget": (1 - state["spent"] / self.config.budget).unsqueeze(1),
            "time": 1 - state["step"].unsqueeze(1) / self.config.steps,
        }

    # --- how an episode begins -----------------------------------------------------------------------------------

    def recipe(self) -> dict[str, Any]:
        """What base students of this task depend on, beside the engine."""
        options = sorted(self.config.task_options.items())
        return {"task": [self.task.name, self.task.version, self.task.edition, options]}

    def base_key(self, state: Fields, rows: Tensor) -> Tensor:
        """What decides which base student each of ``rows`` is: int64 [rows]."""
        return random.stream(state, _BASE)[rows]

    def draw_base(self, state: Fields, rows: Tensor) -> None:
        """Make the students ``rows`` base students of the pool."""
        key, recipe = self.base_key(state, rows), self.recipe()
        if self.misconceptions:
            base, state["held"][rows] = self.misconceptions.draw_base(key, recipe)
        else:
            base = self._pretrained.draw_base(key, self.config.pool, recipe)
        state["student"][rows, : self.students.weights] = base

    def draw_targets(self, state: Fields, rows: Tensor) -> Tensor:
        """Goals of the students ``rows``: one to ``max_targets`` skills, float32 [rows, K]; see `draw_targets`."""
        return draw_targets(random.stream(state, TARGET)[rows], len(self.task.skills), self.config.max_targets)

    def begin(self, state: Fields, rows: Tensor, target: Tensor) -> None:
        """Start an episode with the weights that the students ``rows`` have, a new optimiser, and a first validation.

        Args:
            state: of the population.
            rows: which students, int64 [rows].
            target: what every skill counts, float32 [rows, K], summing to 1.
        """
        weights = self.students.weights
        state["student"][rows, weights:] = 0
        if self.misconceptions:
            state["start"][rows] = state["student"][rows, :weights]
        state["target"][rows] = target
        key = random.stream(state, _VALIDATION)[rows]
        state["validation"][rows] = draw_items(self.task, "validation", key, self.config.validation_items)
        for name in ("change", "spent", "accuracy_history", "spending_history"):
            state[name][rows] = 0
        state["accuracy"][rows], state["loss"][rows] = self._examine(state, rows)
        state["accuracy_history"][rows, 0] = state["accuracy"][rows]

    # --- what happens in a step ----------------------------------------------------------------------------------

    def allowance(self, state: Fields) -> Tensor:
        """Money for this step: what is left, divided by the steps left, float64 [S]."""
        return (self.config.budget - state["spent"]) / (self.config.steps - state["step"])

    def pay(self, state: Fields, items: Tensor, money: Tensor) -> None:
        """Take ``money`` [S, K], by skill, for ``items`` [S]."""
        state["spent"][:] += money.sum(1)
        record(state["spending_history"], state["step"], money)
        ledger.charge(state["ledger"], "data_engine", items=items, money=money.sum(1))

    def train(self, state: Fields, batch: Batch, tables: Tables | None = None) -> Tensor:
        """Train every student once on its items, and charge for it.

        Args:
            state: of the population.
            batch: the items of S students.
            tables: what ids stand for, where it is not the task's own problems and answers.

        Returns:
            The items' losses before they were learned, float64 [S, N].
        """
        students = self.students
        if self._placebo is not None:
            key = random.stream(state, _PLACEBO, state["step"])
            batch = replace(batch, target=self._placebo.answers(batch.problem, batch.target, batch.count, key))
        loss = students.train(state["student"], batch, tables).double()
        learned = torch.arange(batch.problem.shape[1], device=loss.device) < batch.count.unsqueeze(1)
        tokens = (students.tokens(batch.problem, batch.target, tables) * learned).sum(1)
        flops = students.training_flops * students.flops_per_token * tokens
        ledger.charge(state["ledger"], "student_training", items=batch.count, tokens=tokens, flops=flops)
        return loss

    def validate(self, state: Fields) -> tuple[Tensor, Tensor]:
        """Have every student sit the validation after a step.

        Returns:
            Change of `value`, float64 [S], and whether that was the last step, bool [S].
        """
        before, step = self.value(state), state["step"]
        accuracy, loss = self._examine(state, slice(None))
        state["change"][:] = accuracy - state["accuracy"]
        state["accuracy"][:], state["loss"][:] = accuracy, loss
        record(state["accuracy_history"], step + 1, accuracy)
        return self.value(state) - before, step + 1 >= self.config.steps

    def value(self, state: Fields) -> Tensor:
        """Target-weighted validation score, float64 [S]: what the reward is the change of."""
        return on_target(state, state["accuracy"] if self.config.reward == "accuracy" else -state["loss"])

    def charge_inference(self, state: Fields, rows: Tensor | slice, problem: Tensor) -> None:
        """Bill the students ``rows`` for answering problems [rows, N]."""
        tokens = self.students.tokens(problem).sum(1)
        flops = self.students.flops_per_token * tokens
        ledger.charge(state["ledger"], "student_inference", rows, items=problem.shape[1], tokens=tokens, flops=flops)

    def _examine(self, state: Fields, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Accuracy and loss per skill on the episode's validation items, float32 [rows, K] each; charged."""
        problem, size = state["validation"][rows], self.config.validation_items
        right, loss = self.students.evaluate(state["student"][rows], problem)
        self.charge_inference(state, rows, problem)
        loss = torch.nan_to_num(loss.float(), nan=MAX_LOSS).unflatten(1, (-1, size)).mean(2).clamp(0, MAX_LOSS)
        return right.float().unflatten(1, (-1, size)).mean(2), loss


def record(history: Tensor, step: Tensor, value: Tensor) -> None:
    """Enter ``value`` [S, n] at each student's ``step`` (int64 [S]) of a history [S, steps, n]."""
    history[torch.arange(len(step), device=step.device), step] = value.to(history.dtype)


def on_target(state: Fields, per_skill: Tensor) -> Tensor:
    """Weighted by what each skill counts, float64: [S, K] -> [S]."""
    return (state["target"].double() * per_skill.double()).sum(1)


def draw_targets(key: Tensor, skills: int, most: int) -> Tensor:
    """One to ``most`` of so many skills, in proportion to 0.5 + uniform, summing to 1: keys [n] -> float32 [n, skills]."""
    order = random.uniform(random.fold(key, 0), skills).argsort(dim=1, stable=True).argsort(1)
    number = 1 + random.integers(random.fold(key, 1), 1, most)
    weight = (0.5 + random.uniform(random.fold(key, 2), skills)) * (order < number)
    return (weight / weight.sum(1, keepdim=True)).float()


class CourseEnv(PopulationEnv):
    """A population that takes a course: examinations of what was learned, and pictures of it.

    Args:
        course: what its students learn.
        num_envs: number of students S.
        observation_space: the page's own boxes.
        action_space: the page's.
        layout: the page's own state.
        common: what all populations take (`common_arguments`), and ``text_space``; see `PopulationEnv`.

    Attributes:
        metadata: with ``skills``, a list of name, description and names of prerequisites in the order of all per-skill
            arrays, unless the page keeps them to itself (``skills_are_named``).
    """

    course: Course[Any]
    config: CourseSettings
    family: ClassVar[str]
    level: ClassVar[str]
    currency: ClassVar[str] = "money"  # what a budget is of
    skills_are_named: ClassVar[bool] = True

    def __init__(
        self,
        course: Course[Any],
        num_envs: int,
        observation_space: dict[str, spaces.Space[Any]],
        action_space: spaces.Space[Any],
        layout: Layout,
        **common: Any,
    ) -> None:
        self.course, self.config, self.task, self.students = course, course.config, course.task, course.students
        self.steps = self.config.steps
        self.recorded = self.recorded and self.students.recordable
        super().__init__(
            num_envs,
            observation_space=course.observation_space(observation_space),
            action_space=action_space,
            layout={**course.layout, **layout},
            settings={
                "family": self.family,
                "level": self.level,
                "version": 0,
                **self.config.model_dump(mode="json"),
                "edition": self.task.edition,
                "row": self.students.row,
            },
            device=self.students.device,
            **common,
        )
        if self.skills_are_named:
            self.metadata["skills"] = [
                {"name": s.name, "description": s.description, "prerequisites": list(s.prerequisites)}
                for s in self.task.skills
            ]

    def _limits(self) -> dict[str, tuple[float, float]]:
        pool = self.task.pool("validation")
        return {**super()._limits(), "validation": (int(pool.start.min()), int((pool.start + pool.count).max()) - 1)}

    def score(self) -> npt.NDArray[np.float64]:
        """Target-weighted validation accuracy now, [S]."""
        value: npt.NDArray[np.float64] = on_target(self.state, self.state["accuracy"]).cpu().numpy()
        return value

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
        state = self.state
        correct, asked = self.course.examiner.mark(state["student"], split)
        score = (state["target"].double() * correct / asked).sum(1)
        return _on_host({"right": correct, "asked": asked, "target": state["target"], "score": score})

    def outcome(self) -> dict[str, Array]:
        """What became of misconceptions, where students have any; see `examine_misconceptions`."""
        return self.examine_misconceptions() if self.course.misconceptions else {}

    def examine_misconceptions(self, split: Split = "test") -> dict[str, Array]:
        """What became of the wrong rules that students began the episode with; for who scores teachers, not for teachers.

        Args:
            split: see `examine`; the items are the same.

        Returns:
            See `kdgym.core.misconceptions.Misconceptions.examine`.

        Raises:
            ValueError: the environment has no misconceptions, or there is no such split.
        """
        misconceptions = self.course.misconceptions
        if misconceptions is None:
            raise ValueError("These students have no misconceptions; make the environment with misconceptions=2, say.")
        return _on_host(misconceptions.examine(self.state, self.course.examiner.items(split)))

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
        state = self.state
        unrelated = (state["target"] == 0).double()
        if not unrelated.any(1).all():
            raise ValueError(
                "Every skill is a target of some student, so no training is unrelated; choose a smaller max_targets."
            )
        key = self.stream(_UNRELATED)
        before, after = self.course.examiner.practise(state["student"], key, unrelated, items, split)
        return _on_host({"before": on_target(state, before), "after": on_target(state, after)})

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
        key = self.stream(_PRACTICE)
        before, after = self.course.examiner.practise(self.state["student"], key, share, items, split)
        return _on_host({"before": before, "after": after})

    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far, for pictures and the terminal."""
        state, done = self.state, int(self.state["step"][student])
        return Lesson(
            skills=[skill.name for skill in self.task.skills],
            target=state["target"][student].cpu().numpy().copy(),
            accuracy=state["accuracy_history"][student, : done + 1].cpu().numpy().copy(),
            spending=state["spending_history"][student, :done].cpu().numpy().copy(),
            steps=self.steps,
            budget_left=float(1 - state["spent"][student] / self.config.budget),
            currency=self.currency,
        )


def _on_host(result: dict[str, Tensor]) -> dict[str, Array]:
    return {name: value.cpu().numpy().copy() for name, value in result.items()}
