"""Distill: teach by choosing what a student imitates, how strongly, and whom it trusts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field, field_validator
from torch import Tensor

from kdgym import random
from kdgym.core import SingleEnv
from kdgym.core.population import Array, common_arguments
from kdgym.core.study import FIRST_PURPOSE, MAX_LOSS, Study, StudyEnv, StudySettings
from kdgym.envs.distill.losses import TERMS, WITH_HEADS, Batch, entropy, heads, recipe_loss
from kdgym.spaces import Dial, Dials
from kdgym.students.recipes.bank import ALIKE, TURNS, WIDTHS
from kdgym.students.recipes.companies import MEMBERS, all_turned, check_shares, draw_companies, draw_labels
from kdgym.students.recipes.networks import log_softmax
from kdgym.tasks.images import CLASSES

TEACHERS = MEMBERS
_ITEMS, _LABELS, _TEACHERS = range(FIRST_PURPOSE, FIRST_PURPOSE + 3)
_LEAST_LOSS = 0.03


def _weight(name: str, meaning: str, neutral: float = 0.0) -> Dial:
    return Dial(name, meaning, 0, 10, neutral, "log", least=_LEAST_LOSS)


DIALS = (
    _weight("ce", "cross entropy with the given labels", neutral=1.0),
    _weight("forward", "forward KL, from teachers to student, times the squared temperature"),
    _weight("reverse", "reverse KL, from student to teachers, times the squared temperature"),
    Dial("temperature", "of both divergences", 0.5, 8, 2, "log"),
    Dial(
        "by_entropy",
        "leans items whose teachers are less sure than the student to forward, others to reverse",
        -2,
        2,
    ),
    Dial("teacher", "trust in each of the teachers", scale="shares", members=TEACHERS),
    _weight("boosted", "cross entropy with the teachers, the given class boosted"),
    Dial("boost", "power of the given class in boosted and in the exits", 1, 2, 1),
    _weight("exit_1", "boosted, of a branch behind the first stage"),
    _weight("exit_2", "boosted, of a branch behind the last stage"),
    _weight("embedding", "distance of the first stage to the most trusted teacher's"),
    _weight("feature", "distance of the last stage to the most trusted teacher's"),
    Dial("high_pass", "share of feature without what all items have in common", 0, 1, 0),
    _weight("relation", "distance of the cosines of all pairs of items"),
    _weight("through_teacher", "the last stage, read by the teacher's own last layer"),
    _weight("subclasses", "cross entropy with subclasses of the most trusted teacher"),
    _weight("assisted", "KL from a teacher that reads the given labels to the student"),
    Dial("assisted_noise", "share of wrong labels that teacher was trained on", 0.3, 0.9, 0.5),
    Dial("outspoken", "from teachers as they are to teachers trained to tell more", 0, 1, 0),
    _weight("adversarial", "a critic that tells the student's last stage from the teacher's"),
    Dial("unlabelled", "share of imitation on items without labels", 0, 1, 0.5),
)


class DistillSettings(StudySettings):
    """Arguments of `Distill`; see there.

    Attributes:
        labelled, unlabelled: items of an episode.
        companies: of teachers, that relieve one another in an episode.
        shares: of the labels, as each of some kinds of models would have them; one kind is sound.
    """

    learning_rate: float = Field(1e-3, gt=0, le=1)
    validation_items: int = Field(40, ge=1, le=4000)
    labelled: int = Field(100, ge=10, le=5000)
    unlabelled: int = Field(3000, ge=0, le=10000)
    steps: int = Field(6, ge=1, le=1000)
    updates: int = Field(40, ge=1, le=1000)
    companies: int = Field(3, ge=1, le=100)
    shares: tuple[float, ...] = Field((0.4, 0.12, 0.12, 0.12, 0.12, 0.12), min_length=1, max_length=TURNS)

    _all_of_them = field_validator("shares")(check_shares)


class Distill(StudyEnv):
    """Teach by choosing what a student imitates, how strongly, and whom it trusts.

    ## Description
    A student learns to tell garments apart from a few labelled images, many images without labels, and what five teachers say
    of them. There are six kinds of teachers. A *sound* one says what it learned from true labels. The others say the same, but
    six classes of ten move on in a cycle, by 1 to 5 places. Any two kinds disagree on these six classes, are equally sure, and
    equally far from all other kinds. The teachers are of five different kinds, one of them sound, in any order.

    The given labels are mixed. Each is as one of the kinds would have it, and ``shares`` has the shares of the kinds, in any
    order. So neither what most teachers say nor what agrees with the labels tells whom to trust. The student's validation,
    which is small and has true labels, does, and so does what a student has learned that way.

    ``companies`` of teachers, each drawn anew, relieve one another at steps that are drawn: after each third of an episode, or
    one step earlier or later. Where two would begin at once, the first never teaches.

    An action is a recipe for one step of ``updates`` updates. Half of each update's items have labels.

    ## Action Space
    `kdgym.spaces.Dials`, a ``Box(-1, 1, (25,), float32)`` of named dials. The action 0 is neutral: training by cross entropy
    alone, with no teacher. Shares are softmax(4 * entries).

    | entries | dial | range | neutral | meaning |
    |---|---|---|---|---|
    | 0 | ce | 0 to 10 | 1 | cross entropy with the given labels |
    | 1 | forward | 0 to 10 | 0 | forward KL, from teachers to student, times the squared temperature |
    | 2 | reverse | 0 to 10 | 0 | reverse KL, from student to teachers, times the squared temperature |
    | 3 | temperature | 0.5 to 8 | 2 | of both divergences |
    | 4 | by_entropy | -2 to 2 | 0 | leans items whose teachers are less sure than the student to forward, others to reverse |
    | 5 to 9 | teacher | 5 shares | equal | trust in each of the teachers |
    | 10 | boosted | 0 to 10 | 0 | cross entropy with the teachers, the given class boosted |
    | 11 | boost | 1 to 2 | 1 | power of the given class in boosted and in the exits |
    | 12 | exit_1 | 0 to 10 | 0 | boosted, of a branch behind the first stage |
    | 13 | exit_2 | 0 to 10 | 0 | boosted, of a branch behind the last stage |
    | 14 | embedding | 0 to 10 | 0 | distance of the first stage to the most trusted teacher's |
    | 15 | feature | 0 to 10 | 0 | distance of the last stage to the most trusted teacher's |
    | 16 | high_pass | 0 to 1 | 0 | share of feature without what all items have in common |
    | 17 | relation | 0 to 10 | 0 | distance of the cosines of all pairs of items |
    | 18 | through_teacher | 0 to 10 | 0 | the last stage, read by the teacher's own last layer |
    | 19 | subclasses | 0 to 10 | 0 | cross entropy with subclasses of the most trusted teacher |
    | 20 | assisted | 0 to 10 | 0 | KL from a teacher that reads the given labels to the student |
    | 21 | assisted_noise | 0.3 to 0.9 | 0.5 | share of wrong labels that teacher was trained on |
    | 22 | outspoken | 0 to 1 | 0 | from teachers as they are to teachers trained to tell more |
    | 23 | adversarial | 0 to 10 | 0 | a critic that tells the student's last stage from the teacher's |
    | 24 | unlabelled | 0 to 1 | 0.5 | share of imitation on items without labels |

    Terms that imitate features or subclasses take the most trusted teacher, the first among equals. The others take all
    teachers, mixed by trust. The teacher that reads the given labels is of one of the six kinds, drawn once an episode.
    `kdgym.envs.distill.losses` has the formulas.

    ## Observation Space
    A ``Dict`` of float32 boxes. What is said of labelled images is said of those who teach at the coming step:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (10,) | [0, 1] | validation accuracy by class; of a class without images, the accuracy of all |
    | loss | (1,) | [0, 10] | cross entropy on the validation |
    | change | (1,) | [-10, 10] | what the last step gained, as in the reward |
    | calibration | (1,) | [0, 1] | expected calibration error on the validation |
    | certainty | (1,) | [0, 1] | mean of the largest probability there |
    | agreement | (5,) | [0, 1] | share of the given labels, right or wrong, that each teacher agrees with |
    | label_loss | (5,) | [0, 10] | its cross entropy with them |
    | entropy | (5,) | [0, 2.31] | its mean entropy on the labelled images |
    | divergence | (5,) | [0, 10] | mean KL from it to the student there |
    | peers | (5,) | [0, 1] | how often it says the same as another teacher does, mean of the four |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    The fall of the validation loss in this step, or with ``reward="accuracy"`` the rise of its accuracy.

    ## Starting State
    A new student. ``reset(options={"restart": "continue"})`` keeps the weights, with a new optimiser.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    A perceptron of two layers with 32 units on images of 14 x 14 pixels, trained by AdamW. ``student`` names other
    architectures (`kdgym.students.recipes.networks`). Teachers are larger perceptrons (`kdgym.students.recipes.bank`).

    ## Budget
    The number of updates. Every update costs 1, whatever is imitated: what teachers say is looked up. In the ledger updates are
    ``student_training`` and validations ``student_inference``.

    ## Splits
    Images are cut by a hash of their pixels: for the teachers, for labelled and unlabelled items, for validation. Test images
    are Fashion-MNIST's own. The teachers of ``pool="train"`` and ``"evaluation"`` were trained on different images.
    Hidden are which teacher is sound, the kinds of teachers and labels, and when companies change. No observation or info has
    them. All kinds are drawn alike, so a first observation does not tell whom to trust: a fitted rule named the sound teacher
    for 19 % of 1,024 unseen students, where 20 % are chance.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. In another
    population sums may be rounded otherwise: observations of four steps differed by at most 2.4e-7.

    ## Headroom
    ``docs/distill.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``pool``: students and teachers, ``"train"`` or ``"evaluation"``.
    * ``labelled``, ``unlabelled``: images of an episode.
    * ``companies``: of teachers in an episode.
    * ``shares``: of the labels, as each of some kinds would have them; in any order, and one kind is sound.
    * ``steps``, ``updates``, ``batch``: steps of an episode, updates of a step, items of an update.
    * ``learning_rate``: of AdamW. ``student``: its architecture.
    * ``validation_items``, ``test_items``: images of an examination; ``test_draw``: which test images.
    * ``reward``: ``"log_loss"`` or ``"accuracy"``.
    * ``device``: of the population.
    * ``render_mode``, ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    study: Study[DistillSettings]
    config: DistillSettings
    family = "Distill"
    items = ("label_loss",)

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        config = DistillSettings.parse(settings)
        study: Study[DistillSettings] = Study(config, lambda stages: heads(stages, *WIDTHS, len(CLASSES)))
        f32, i64, items = torch.float32, torch.int64, config.labelled + config.unlabelled
        by_teacher = {
            "agreement": (0, 1),
            "label_loss": (0, MAX_LOSS),
            "entropy": (0, 2.31),
            "divergence": (0, MAX_LOSS),
        }
        super().__init__(
            study,
            num_envs,
            observation_space={
                **{name: spaces.Box(low, high, (TEACHERS,)) for name, (low, high) in by_teacher.items()},
                "peers": spaces.Box(0, 1, (TEACHERS,)),
            },
            action_space=Dials(DIALS),
            layout={
                "item": ((items,), i64),
                "given": ((config.labelled,), i64),
                "model": ((config.companies, TEACHERS), i64),
                "begins": ((config.companies,), i64),
                **dict.fromkeys(("place", "assistant"), ((), i64)),
                **dict.fromkeys((*by_teacher, "peers"), ((TEACHERS,), f32)),
            },
            **common,
        )
        self._turned = all_turned(self.device)

    def _limits(self) -> dict[str, tuple[float, float]]:
        bank, classes = self.study.bank, self.study.classes
        return {
            **super()._limits(),
            "item": (0, len(bank.place) - 1),
            "given": (0, classes - 1),
            "model": (0, len(bank.kinds) - 1),
            "assistant": (0, TURNS - 1),
            "begins": (0, self.config.steps + self.config.companies),
            "place": (0, len(self.config.shares) - 1),
        }

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, study = self.state, self.study
        if restart == "base":
            study.draw_new(state, rows)
        self._draw_teachers(rows)
        self._draw_items(rows)
        study.begin(state, rows)
        self._look(rows, torch.zeros_like(state["step"]))

    def _draw_teachers(self, rows: Tensor) -> None:
        """Companies in any order, and the steps at which they come."""
        state, config = self.state, self.config
        key = self.stream(_TEACHERS)[rows]
        drawn = draw_companies(self.study.bank, key, config.companies, config.steps)
        state["model"][rows], state["begins"][rows] = drawn
        state["assistant"][rows] = random.integers(random.fold(key, -1), 1, TURNS).squeeze(1)

    def _teachers(self, step: Tensor) -> Tensor:
        """The models that teach at a step [S] of each student, int64 [S, 5]."""
        begun = (self.state["begins"] <= step.unsqueeze(1)).sum(1) - 1
        return self.state["model"].gather(1, begun[:, None, None].expand(-1, 1, TEACHERS)).squeeze(1)

    def _draw_items(self, rows: Tensor) -> None:
        """Items, and labels of the first of them, each as one of some kinds of models would have it."""
        state, config, corpus = self.state, self.config, self.study.corpus
        key, told = self.stream(_ITEMS)[rows], self.stream(_LABELS)[rows]
        drawn = [
            part[random.integers(random.fold(key, i), n, len(part))]
            for i, (part, n) in enumerate(
                ((corpus.parts["labelled"], config.labelled), (corpus.parts["pool"], config.unlabelled))
            )
        ]
        state["item"][rows] = torch.cat(drawn, dim=1)
        labels = draw_labels(told, corpus.label[drawn[0]], config.shares)
        state["given"][rows], state["place"][rows] = labels

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, study = self.state, self.study
        self.remember(action)
        recipe = {name: value.float() for name, value in self.dials.decode(action).items()}
        active = frozenset(name for name in TERMS if bool(recipe[name].any()))
        heads = torch.stack([recipe[name] > 0 for name in WITH_HEADS]).any(0) if active & set(WITH_HEADS) else None
        for batch in self._batches(recipe):
            study.learner.update(state["student"], recipe_loss(study.learner.architecture, batch, active), heads)
        self._look(slice(None), state["step"] + 1)
        return study.validate(state, batch.images.shape[1])

    def _batches(self, recipe: dict[str, Tensor]) -> Iterator[Batch]:
        state, study, config = self.state, self.study, self.config
        half = max(1, config.batch // 2)
        first = place = study.places(state, 0, half, config.labelled)
        if config.unlabelled:
            second = study.places(state, 1, config.batch - half, config.unlabelled)
            place = torch.cat([first, config.labelled + second], dim=2)
        model, renamed = self._teachers(state["step"]), self._turned[state["assistant"]]
        for labelled, every in zip(first, place, strict=True):
            item, label = state["item"].gather(1, every), state["given"].gather(1, labelled)
            yield Batch(study.bank, model, item, study.corpus.images(item), label, recipe, renamed)

    # --- what the teacher sees -----------------------------------------------------------------------------------

    def _look(self, rows: Tensor | slice, step: Tensor) -> None:
        """Enter what those who teach at a step [S] say of the items that have labels."""
        state, study = self.state, self.study
        given = state["given"][rows]
        item = state["item"][rows][:, : self.config.labelled]
        model = self._teachers(step)[rows]
        logits = study.bank.look_up(study.bank.logits[0], model.unsqueeze(2), study.bank.place[item].unsqueeze(1))
        said = log_softmax(logits)
        student = log_softmax(study.learner.say(state["student"][rows], study.corpus.images(item)).logits)
        label = given[:, None, :, None].expand(-1, TEACHERS, -1, 1)
        state["label_loss"][rows] = -said.gather(3, label).squeeze(3).mean(2).clamp_min(-MAX_LOSS)
        choice = said.max(3).indices  # argmax is five times as slow here
        state["agreement"][rows] = (choice == given.unsqueeze(1)).float().mean(2)
        state["entropy"][rows] = entropy(said.exp()).mean(2).clamp(0, 2.31)
        apart = (said.exp() * (said - student.unsqueeze(1))).sum(3).mean(2)
        state["divergence"][rows] = torch.nan_to_num(apart, nan=MAX_LOSS).clamp(0, MAX_LOSS)
        alike = (choice.unsqueeze(1) == choice.unsqueeze(2)).float().mean(3)
        state["peers"][rows] = ((alike.sum(2) - 1) / (TEACHERS - 1)).clamp(0, 1)

    def _observe(self) -> dict[str, Tensor]:
        state = self.state
        own = {name: state[name] for name in ("agreement", "label_loss", "entropy", "divergence", "peers")}
        return {**self.study.observe(state), **own}

    def hidden(self) -> dict[str, Array]:
        """For upper bounds only: which teacher is good now (``good``, int64 [S, 5]), and which of the setting ``shares`` is the
        share of true labels (``place``, int64 [S])."""
        good = torch.tensor([kind == ALIKE[0] for kind in self.study.bank.kinds], device=self.device).long()
        hidden = {"good": good[self._teachers(self.state["step"])], "place": self.state["place"]}
        return {name: value.cpu().numpy().copy() for name, value in hidden.items()}


class DistillEnv(SingleEnv):
    __doc__ = Distill.__doc__
    population = Distill
