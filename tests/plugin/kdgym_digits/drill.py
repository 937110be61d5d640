"""An environment on kdgym's population, with settings and an action space of its own."""

from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym.core import PopulationEnv, SingleEnv, common_arguments, ledger
from kdgym.core.examiner import Examiner
from kdgym.core.rendering import Lesson
from kdgym.random import uniform
from kdgym.settings import Settings
from kdgym.spaces import Shares
from kdgym.students import Batch, make_students
from kdgym.tasks import Split, make_task
from kdgym.tasks.examination import draw_items, draw_practice

_BASE, _TARGET, _VALIDATION, _PRACTICE = range(4)


class Portions(Shares):
    """Shares of practice, by skill.

    Args:
        skills: K.
        seed: seed of ``sample``.
    """

    def __init__(self, skills: int, seed: int | None = None) -> None:
        super().__init__(skills, temperature=2.0, seed=seed)
        self.skills = skills


class DrillSettings(Settings):
    task: str = "Digits"
    student: str = "transformer"
    pool: Literal["train", "evaluation"] = "train"
    steps: int = Field(6, ge=1, le=100)
    items: int = Field(64, ge=1, le=1024)
    device: str = "cpu"


class Drill(PopulationEnv):
    """A student practises items of three skills that count differently; the teacher splits them."""

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        self.config = DrillSettings.parse(settings)
        self.task = make_task(self.config.task)
        self.students = make_students(self.config.student, self.task, self.config.device)
        self._examiner = Examiner(self.students, most=64)
        self.steps, skills = self.config.steps, len(self.task.skills)
        box = {"accuracy": skills, "target": skills, "budget": 1, "time": 1}
        super().__init__(
            num_envs,
            observation_space=spaces.Dict({name: spaces.Box(0, 1, (size,)) for name, size in box.items()}),
            action_space=Portions(skills),
            layout={
                "student": ((self.students.row,), self.students.dtype),
                "target": ((skills,), torch.float32),
                "validation": ((skills * 16,), torch.int64),
                "accuracy": ((self.steps + 1, skills), torch.float32),
                "practised": ((self.steps, skills), torch.float32),
            },
            settings={"family": "Drill", "version": 0, **self.config.model_dump(mode="json")},
            device=self.students.device,
            **common,
        )
        self.metadata["skills"] = [{"name": skill.name, "description": skill.description} for skill in self.task.skills]
        self._everyone = torch.arange(num_envs, device=self.device)

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, weights = self.state, self.students.weights
        if restart == "base":
            recipe = {"task": [self.task.name, self.task.version]}
            state["student"][rows, :weights] = self.students.draw_base(
                self.stream(_BASE)[rows], self.config.pool, recipe
            )
        state["student"][rows, weights:] = 0
        weight = uniform(self.stream(_TARGET)[rows], len(self.task.skills)) ** 4
        state["target"][rows] = (weight / weight.sum(1, keepdim=True)).float()
        state["validation"][rows] = draw_items(self.task, "validation", self.stream(_VALIDATION)[rows], 16)
        state["accuracy"][rows], state["practised"][rows] = 0, 0
        state["accuracy"][rows, 0] = self._accuracy()[rows]

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, step, before = self.state, self.state["step"], self._value()
        share = torch.softmax(self.single_action_space.temperature * action.double(), dim=1)
        problem = draw_practice(self.task, self.stream(_PRACTICE, step), share, self.config.items)
        answer = self.task.solution.to(self.device)[problem]
        self.students.train(state["student"], Batch(problem, answer, torch.full_like(step, self.config.items)))
        tokens = self.students.tokens(problem, answer).sum(1)
        ledger.charge(state["ledger"], "student_training", items=self.config.items, tokens=tokens)
        state["practised"][self._everyone, step] = (self.config.items * share).float()
        state["accuracy"][self._everyone, step + 1] = self._accuracy()
        after = (state["target"].double() * state["accuracy"][self._everyone, step + 1]).sum(1)
        return after - before, step + 1 >= self.steps

    def _accuracy(self) -> Tensor:
        right, _ = self.students.evaluate(self.state["student"], self.state["validation"])
        return right.float().unflatten(1, (-1, 16)).mean(2)

    def _value(self) -> Tensor:
        return (self.state["target"].double() * self.state["accuracy"][self._everyone, self.state["step"]]).sum(1)

    def _observe(self) -> dict[str, Tensor]:
        left = 1 - self.state["step"].unsqueeze(1) / self.steps
        accuracy = self.state["accuracy"][self._everyone, self.state["step"]]
        return {"accuracy": accuracy, "target": self.state["target"], "budget": left, "time": left}

    def score(self) -> np.ndarray:
        return self._value().cpu().numpy()

    def examine(self, split: Split = "test") -> dict[str, np.ndarray]:
        right, asked = self._examiner.mark(self.state["student"], split)
        score = (self.state["target"].double() * right / asked).sum(1)
        return {name: x.cpu().numpy().copy() for name, x in {"right": right, "asked": asked, "score": score}.items()}

    def lesson(self, student: int) -> Lesson:
        state, step = self.state, int(self.state["step"][student])
        return Lesson(
            skills=[skill.name for skill in self.task.skills],
            target=state["target"][student].numpy().copy(),
            accuracy=state["accuracy"][student, : step + 1].numpy().copy(),
            spending=state["practised"][student, :step].numpy().copy(),
            steps=self.steps,
            budget_left=1 - step / self.steps,
            currency="items",
        )


class DrillEnv(SingleEnv):
    """See `Drill`."""

    population = Drill
