"""A study: what environments have in common whose teacher decides a training recipe. They hold it as a value.

`Study` knows the images, the network and the examinations, and has one method for each thing that happens to a student: it
begins an episode, draws items, makes an update, sits the validation. It reads and changes a population's state, which is passed
in, and keeps none. `StudyEnv` is the population that studies. An environment's page says what the teacher sees, and what the
dials mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from pydantic import Field
from rich.console import RenderableType
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.core import ledger
from kdgym.core.fields import Fields, Layout
from kdgym.core.population import Array, PopulationEnv
from kdgym.core.rendering import Lesson, Recipe, recipe_panel, recipe_picture
from kdgym.settings import Settings
from kdgym.spaces import Dials
from kdgym.students import check_device
from kdgym.students.recipes.bank import Bank, load_bank
from kdgym.students.recipes.engine import Learner, LearnerConfig, flops_of_update
from kdgym.students.recipes.networks import ARCHITECTURES, Shapes, log_softmax, softmax
from kdgym.tasks import SPLITS, Split
from kdgym.tasks.images import CLASSES, garments

MAX_LOSS = 10.0  # nats; an untrained student is at about 2.3
# Purposes of a student's random streams; a page's own begin after them.
_BASE, _VALIDATION, _BATCH, FIRST_PURPOSE = range(4)
_TEST_KEY = 5_150
_BINS = 15  # of the calibration error


class StudySettings(Settings):
    """Arguments that all studies have.

    Attributes:
        pool: students, ``"train"`` or ``"evaluation"``; it decides which half of the bank they meet.
        student: architecture, see `kdgym.students.recipes.networks.ARCHITECTURES`.
        steps, updates, batch: steps of an episode, updates of a step, items of an update.
        learning_rate: of AdamW.
        validation_items: images of the validation.
        test_items: images of an examination; ``test_draw`` says which ones.
        reward: change of ``"log_loss"`` (minus the loss) or of ``"accuracy"``, on the validation.
        device: of the population.
    """

    pool: Literal["train", "evaluation"] = "train"
    student: str = "perceptron"
    steps: int = Field(12, ge=1, le=1000)
    updates: int = Field(20, ge=1, le=1000)
    batch: int = Field(32, ge=2, le=1024)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    validation_items: int = Field(100, ge=1, le=4000)
    test_items: int = Field(2000, ge=10, le=5000)
    test_draw: int = Field(0, ge=0)
    reward: Literal["log_loss", "accuracy"] = "log_loss"
    device: str = "cpu"


Config_co = TypeVar("Config_co", bound=StudySettings, covariant=True)


class Study(Generic[Config_co]):
    """Images, a network, validations and examinations.

    Args:
        config: the settings.
        heads: widths of the network's stages -> further weights of the students, see `Learner`.

    Attributes:
        corpus: garments.
        learner: the networks.
        layout: fields of a student's state.

    Raises:
        ValueError: there is no such student or device.
    """

    def __init__(self, config: Config_co, heads: Callable[[tuple[int, ...]], Shapes] = lambda stages: {}) -> None:
        if config.student not in ARCHITECTURES:
            raise ValueError(f"There is no student {config.student!r} here; choose from {', '.join(ARCHITECTURES)}.")
        self.config, self.device = config, check_device(config.device)
        self.corpus, self.classes = garments().to(self.device), len(CLASSES)
        architecture = ARCHITECTURES[config.student](self.classes)
        optimiser = LearnerConfig(learning_rate=config.learning_rate)
        self.learner = Learner(architecture, heads(architecture.stages), optimiser)
        f32, f64, i64 = torch.float32, torch.float64, torch.int64
        self.layout: Layout = {
            "student": ((self.learner.row,), f32),
            "validation": ((config.validation_items,), i64),
            "accuracy": ((self.classes,), f32),
            **dict.fromkeys(("loss", "right", "change", "calibration", "certainty"), ((), f64)),
            "accuracy_history": ((config.steps + 1, self.classes), f32),
        }

    @property
    def bank(self) -> Bank:
        """The half of the bank that these students meet; pretrained when it is first asked for."""
        return load_bank(self.config.pool, self.device)

    def observation_space(self, own: dict[str, spaces.Space[Any]]) -> spaces.Dict:
        """The boxes of every study, around those of a page."""
        return spaces.Dict(
            {
                "accuracy": spaces.Box(0, 1, (self.classes,)),
                "loss": spaces.Box(0, MAX_LOSS, (1,)),
                "change": spaces.Box(-MAX_LOSS, MAX_LOSS, (1,)),
                "calibration": spaces.Box(0, 1, (1,)),
                "certainty": spaces.Box(0, 1, (1,)),
                **own,
                "time": spaces.Box(0, 1, (1,)),
            }
        )

    def observe(self, state: Fields) -> dict[str, Tensor]:
        """What is in those boxes, [S, n] each."""
        single = {name: state[name].unsqueeze(1) for name in ("loss", "change", "calibration", "certainty")}
        return {"accuracy": state["accuracy"], **single, "time": 1 - state["step"].unsqueeze(1) / self.config.steps}

    # --- how an episode begins -----------------------------------------------------------------------------------

    def draw_new(self, state: Fields, rows: Tensor) -> None:
        """Make ``rows`` new students, who know nothing."""
        half = ("train", "evaluation").index(self.config.pool)
        state["student"][rows] = self.learner.initialise(random.fold(random.stream(state, _BASE)[rows], half))

    def begin(self, state: Fields, rows: Tensor) -> None:
        """Start an episode with the weights that ``rows`` have, a new optimiser, and a first validation."""
        state["student"][rows, self.learner.weights :] = 0
        part = self.corpus.parts["validation"]
        key = random.stream(state, _VALIDATION)[rows]
        state["validation"][rows] = part[random.integers(key, self.config.validation_items, len(part))]
        for name in ("change", "accuracy_history"):
            state[name][rows] = 0
        self._examine(state, rows)
        state["accuracy_history"][rows, 0] = state["accuracy"][rows]

    # --- what happens in a step ----------------------------------------------------------------------------------

    def places(self, state: Fields, part: int, items: int, high: Tensor | int) -> Tensor:
        """Places of the items of a step's updates: int64 [updates, S, items] below ``high``; ``part`` tells draws of one update
        apart."""
        update = torch.arange(self.config.updates, device=self.device).unsqueeze(1)
        key = random.stream(state, _BATCH, state["step"] * self.config.updates + update)
        return random.integers(random.fold(key, part), items, high)

    def validate(self, state: Fields, images: int) -> tuple[Tensor, Tensor]:
        """Charge for the updates of a step, of so many ``images`` each, and have every student sit the validation: what is
        gained, float64 [S], and whether it was the last step."""
        updates, flops = self.config.updates, flops_of_update(self.learner.architecture, images)
        amounts = {"items": updates * images, "flops": updates * flops, "money": updates}
        ledger.charge(state["ledger"], "student_training", **amounts)
        before, step = self.value(state), state["step"]
        self._examine(state, slice(None))
        students = torch.arange(len(step), device=self.device)
        state["accuracy_history"][students, step + 1] = state["accuracy"]
        state["change"][:] = self.value(state) - before
        return state["change"].clone(), step + 1 >= self.config.steps

    def value(self, state: Fields) -> Tensor:
        """What the reward is the change of, float64 [S]."""
        return state["right"].clone() if self.config.reward == "accuracy" else -state["loss"]

    def _examine(self, state: Fields, rows: Tensor | slice) -> None:
        """Enter what ``rows`` say of the episode's validation images; charged."""
        item = state["validation"][rows]
        label = self.corpus.label[item]
        logits = self.learner.say(state["student"][rows], self.corpus.images(item)).logits.double()
        said = torch.nan_to_num(log_softmax(logits), nan=-MAX_LOSS)
        right = (said.argmax(2) == label).double()
        member = F.one_hot(label, self.classes).double()
        asked = member.sum(1)
        by_class = (member * right.unsqueeze(2)).sum(1) / asked.clamp_min(1)
        # A class that nobody was asked about counts as the others do together.
        state["accuracy"][rows] = torch.where(asked > 0, by_class, right.mean(1, keepdim=True)).float()
        state["loss"][rows] = -said.gather(2, label.unsqueeze(2)).squeeze(2).mean(1).clamp_min(-MAX_LOSS)
        state["right"][rows] = right.mean(1)
        certainty = said.max(2).values.exp()
        state["certainty"][rows] = certainty.mean(1)
        state["calibration"][rows] = calibration_error(certainty, right)
        flops = item.shape[1] * self.learner.architecture.flops
        ledger.charge(state["ledger"], "student_inference", rows, items=item.shape[1], flops=flops)

    # --- examinations --------------------------------------------------------------------------------------------

    def examine(self, state: Fields, split: Split) -> dict[str, Tensor]:
        """What students are worth on images that are the same for all; no cost, no effect.

        Returns:
            ``right`` and ``asked`` by class (int64 [S, C]), ``calibration`` (expected calibration error, float64 [S]).

        Raises:
            ValueError: there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
        parts = {"train": "labelled", "validation": "validation", "test": "test"}
        part = self.corpus.parts[parts[split]]  # type: ignore[index]
        order = random.uniform(torch.tensor(_TEST_KEY + self.config.test_draw, device=self.device), len(part)).argsort()
        item = part[order[: self.config.test_items]]
        label, students = self.corpus.label[item], len(state["student"])
        found = [
            softmax(self.learner.say(rows, self.corpus.images(item).expand(len(rows), -1, -1)).logits.double())
            for rows in state["student"].split(16)  # so that a large population needs no large memory
        ]
        certainty, said = torch.cat(found).max(2)
        right = said == label
        member = F.one_hot(label, self.classes)
        return {
            "right": (right.double() @ member.double()).long(),
            "asked": member.sum(0).expand(students, -1),
            "calibration": calibration_error(certainty, right.double()),
        }


def calibration_error(certainty: Tensor, right: Tensor) -> Tensor:
    """Expected calibration error over 15 equal bins of certainty (Guo et al., ICML 2017, equation 3): [S, n] each -> [S]."""
    bin_of = (certainty * _BINS).long().clamp(0, _BINS - 1)
    apart = torch.zeros(len(certainty), _BINS, dtype=certainty.dtype, device=certainty.device)
    return apart.scatter_add_(1, bin_of, right - certainty).abs().sum(1) / certainty.shape[1]


class StudyEnv(PopulationEnv):
    """A population that studies images.

    Args:
        study: what its students have in common.
        num_envs: number of students S.
        observation_space: the page's own boxes.
        action_space: the page's dials.
        layout: the page's own state.
        common: what all populations take (`common_arguments`).
    """

    study: Study[Any]
    config: StudySettings
    family: ClassVar[str]
    independent = False  # sums over a batch are rounded otherwise in another company
    recorded = False  # an update skips the terms that no student's recipe has

    def __init__(
        self,
        study: Study[Any],
        num_envs: int,
        observation_space: dict[str, spaces.Space[Any]],
        action_space: Dials,
        layout: Layout,
        **common: Any,
    ) -> None:
        self.study, self.config, self.dials, self.steps = study, study.config, action_space, study.config.steps
        super().__init__(
            num_envs,
            observation_space=study.observation_space(observation_space),
            action_space=action_space,
            layout={**study.layout, "recipe": ((self.steps, *action_space.shape), torch.float32), **layout},
            settings={
                "family": self.family,
                "version": 0,
                **self.config.model_dump(mode="json"),
                "row": study.learner.row,
            },
            device=study.device,
            **common,
        )
        self._test: tuple[Tensor, dict[str, Tensor]] | None = None  # weights, and what was found of them
        self.metadata["skills"] = [
            {"name": name, "description": f"images of this class: {name}", "prerequisites": []} for name in CLASSES
        ]

    def _limits(self) -> dict[str, tuple[float, float]]:
        return {**super()._limits(), "validation": (0, len(self.study.corpus.label) - 1)}

    def remember(self, action: Tensor) -> None:
        """Keep the actions [S, n] of this step, to show them: for pages, at the beginning of `_teach`."""
        step, kept = self.state["step"], self.state["recipe"]
        kept[step == 0] = 0  # those of the last episode
        kept[torch.arange(self.num_envs, device=self.device), step] = action.float()

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """An unaided examination on ``test_items`` images; changes nothing, charges nothing.

        Args:
            split: ``"train"`` (images like the labelled ones), ``"validation"`` or ``"test"``.

        Returns:
            ``right`` and ``asked`` (int64 [S, C]), ``target`` (share of the images that are of a class, float32 [S, C]) and
            ``score`` (accuracy, float64 [S]).

        Raises:
            ValueError: there is no such split.
        """
        found = self._tested() if split == "test" else self.study.examine(self.state, split)
        right, asked = found["right"], found["asked"]
        total = asked.sum(1, keepdim=True)
        result = {
            "right": right,
            "asked": asked,
            "target": (asked / total).float(),
            "score": right.sum(1) / total.squeeze(1).double(),
        }
        return {name: value.cpu().numpy().copy() for name, value in result.items()}

    def score(self) -> npt.NDArray[np.float64]:
        """Validation accuracy now, [S]."""
        value: npt.NDArray[np.float64] = self.state["right"].cpu().numpy().copy()
        return value

    def outcome(self) -> dict[str, Array]:
        """``calibration``: the expected calibration error on the test images, float64 [S]."""
        return {"calibration": self._tested()["calibration"].cpu().numpy().copy()}

    def _tested(self) -> dict[str, Tensor]:
        """`Study.examine` on the test images, once for the weights that students have."""
        weights = self.state["student"][:, : self.study.learner.network]
        if self._test is None or not torch.equal(self._test[0], weights):
            self._test = weights.clone(), self.study.examine(self.state, "test")
        return self._test[1]

    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far: accuracy by class."""
        state, done = self.state, int(self.state["step"][student])
        classes = self.study.classes
        return Lesson(
            skills=list(CLASSES),
            target=np.full(classes, 1 / classes, dtype=np.float32),
            accuracy=state["accuracy_history"][student, : done + 1].cpu().numpy().copy(),
            spending=np.full((done, classes), self.config.updates / classes, dtype=np.float32),
            steps=self.steps,
            budget_left=1 - done / self.steps,
            currency="updates",
        )

    def recipe(self, student: int) -> Recipe:
        """The dials of one student so far."""
        actions = self.state["recipe"][student, : int(self.state["step"][student])].cpu().numpy()
        values = self.dials.decisions(actions)
        return Recipe(dict(zip(values, actions.T, strict=True)), values)

    def panel(self, student: int) -> RenderableType:
        """One student's classes and dials so far, for the terminal."""
        return recipe_panel(self.lesson(student), self.recipe(student))

    def frame(self, student: int) -> npt.NDArray[np.uint8]:
        """The same as a picture, RGB [height, width, 3]."""
        return recipe_picture(self.lesson(student), self.recipe(student))
