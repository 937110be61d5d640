"""Select: teach by choosing which items of a pool a student trains on, by whose scores."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.core import SingleEnv, ledger
from kdgym.core.population import Array, common_arguments
from kdgym.core.study import FIRST_PURPOSE, MAX_LOSS, Study, StudyEnv, StudySettings
from kdgym.envs.select import scorers
from kdgym.envs.select.ranking import draw, entropy, kept, loss, ranks, standardise
from kdgym.envs.select.scorers import READINGS, SCORERS
from kdgym.spaces import Dial, Dials
from kdgym.students.recipes.engine import Weights
from kdgym.students.recipes.networks import log_softmax, softmax
from kdgym.tasks.images import CLASSES, garments_and_digits

BINS, BIN = 10, 0.5  # of the histogram of losses: how many, and nats a bin
COMMON = (0.5, 0.25, 0.15, 0.1)  # shares of the readings among labels in the cycle, the commonest first
_ITEMS, _LABELS, _SCORERS, _TIES, _DRAWS = range(FIRST_PURPOSE, FIRST_PURPOSE + 5)
_AT_ONCE = 8  # students whose pool is in memory as floats
_BY_SCORER = {
    "loss_mean": (0, MAX_LOSS + 4),
    "entropy_mean": (0, 2.31),
    "student_agreement": (-1, 1),
    "scorer_agreement": (-1, 1),
}
_OF_SCORERS = ("scorer_loss", "scorer_entropy", "combined_entropy")
Share = Annotated[float, Field(ge=0, le=1)]


def _signed(name: str, meaning: str) -> Dial:
    return Dial(name, f"weight in an item's score of {meaning}", -2, 2)


DIALS = (
    _signed("student_loss", "the student's loss on its given label"),
    _signed("student_entropy", "the entropy of what the student says"),
    _signed("uses", "how often the student trained on it"),
    Dial("scorer", "trust in each of the scorers", scale="shares", members=SCORERS),
    _signed("scorer_loss", "the trusted scorers' loss on its given label"),
    _signed("scorer_entropy", "the entropy of what the trusted scorers say"),
    _signed("combined_entropy", "the entropy of what both say together"),
    Dial("mix", "share of the scorers in what both say together", 0, 1, 0.5),
    Dial("keep", "share of the pool that is kept, the highest scores first", 0.05, 1, 1, "log"),
    Dial("within_class", "from ranks among all items to ranks within the given class", 0, 1, 1),
    Dial("classes", "relative weight of each given class in the draw", scale="shares", members=len(CLASSES)),
    Dial("labels", "from the given labels to the trusted scorers' probabilities", 0, 1),
)


class SelectSettings(StudySettings):
    """Arguments of `Select`; see there.

    Attributes:
        items: of the pool.
        place: places of the right reading among the readings, the commonest first, one of which an episode has.
        foreign: shares of digits, one of which an episode has.
    """

    steps: int = Field(8, ge=1, le=1000)
    updates: int = Field(16, ge=1, le=1000)
    validation_items: int = Field(50, ge=1, le=4000)
    items: int = Field(1200, ge=20, le=10_000)
    place: tuple[Annotated[int, Field(ge=0, lt=READINGS)], ...] = Field((0, 0, 1, 2), min_length=1)
    foreign: tuple[Share, ...] = Field((0.0, 0.4), min_length=1)


class Select(StudyEnv):
    """Teach by choosing which items of a pool a student trains on, by whose scores.

    ## Description
    A student learns to tell garments apart (`kdgym.tasks.images`) from a pool of items with given labels. Some items are
    digits, with any labels. Some labels are wrong. Six scorers say of every item how likely each class is. An action holds for
    one step of ``updates`` updates: it gives every item a score and keeps a share of the pool with the highest scores. The
    student trains on draws of what is kept. An action may also replace the given labels by what trusted scorers say.

    The scorers are good models that read some classes wrongly. In each episode five classes of ten, others every time, stand in
    a cycle. A *reading* calls each of them by the name of the class none, one, two or three places further on. Only reading 0
    is right. Labels in the cycle are of the four readings, in shares of 0.5, 0.25, 0.15 and 0.1. The right one is the commonest
    in half of the episodes, and else the second or third; ``place`` says so. There is one scorer of each reading, and two more
    of common ones: each is of the commonest with probability 1/2, and of the second and third with 1/4. Scorers come in any
    order. So what most labels and most scorers say is wrong in half of the episodes. By symmetry nothing tells in which ones
    but the student's validation.

    Within a class or over all, items are ranked by a sum of standardised features, weighted by the action
    (`kdgym.envs.select.ranking`). Equal scores are ranked by a draw of the step. Nothing of an item is shown to the teacher.

    ## Action Space
    `kdgym.spaces.Dials`, a ``Box(-1, 1, (26,), float32)`` of named dials. The action 0 is neutral: all items are kept and
    drawn alike, with given labels. Shares are softmax(4 * entries).

    | entries | dial | range | neutral | meaning |
    |---|---|---|---|---|
    | 0 | student_loss | -2 to 2 | 0 | weight in an item's score of the student's loss on its given label |
    | 1 | student_entropy | -2 to 2 | 0 | weight in an item's score of the entropy of what the student says |
    | 2 | uses | -2 to 2 | 0 | weight in an item's score of how often the student trained on it |
    | 3 to 8 | scorer | 6 shares | equal | trust in each of the scorers |
    | 9 | scorer_loss | -2 to 2 | 0 | weight in an item's score of the trusted scorers' loss on its given label |
    | 10 | scorer_entropy | -2 to 2 | 0 | weight in an item's score of the entropy of what the trusted scorers say |
    | 11 | combined_entropy | -2 to 2 | 0 | weight in an item's score of the entropy of what both say together |
    | 12 | mix | 0 to 1 | 0.5 | share of the scorers in what both say together |
    | 13 | keep | 0.05 to 1 | 1 | share of the pool that is kept, the highest scores first |
    | 14 | within_class | 0 to 1 | 1 | from ranks among all items to ranks within the given class |
    | 15 to 24 | classes | 10 shares | equal | relative weight of each given class in the draw |
    | 25 | labels | 0 to 1 | 0 | from the given labels to the trusted scorers' probabilities |

    What scorers say together is the mean of their probabilities, weighted by trust.

    ## Observation Space
    A ``Dict`` of float32 boxes:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (10,) | [0, 1] | validation accuracy by class; of a class without images, the accuracy of all |
    | loss | (1,) | [0, 10] | cross entropy on the validation |
    | change | (1,) | [-10, 10] | what the last step gained, as in the reward |
    | calibration | (1,) | [0, 1] | expected calibration error on the validation |
    | certainty | (1,) | [0, 1] | mean of the largest probability there |
    | histogram | (10,) | [0, 1] | shares of the pool by the student's loss on given labels: bins of 0.5 nats, then all above |
    | loss_mean | (6,) | [0, 14] | each scorer's mean loss on the given labels |
    | entropy_mean | (6,) | [0, 2.31] | mean entropy of what it says |
    | student_agreement | (6,) | [-1, 1] | rank correlation over the pool of its loss with the student's |
    | scorer_agreement | (6,) | [-1, 1] | mean of its rank correlations with the other scorers |
    | pool_share | (10,) | [0, 1] | shares of the given classes in the pool |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    The fall of the validation loss in this step, or with ``reward="accuracy"`` the rise of its accuracy.

    ## Starting State
    A new student. ``reset(options={"restart": "continue"})`` keeps the weights, with a new optimiser.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    A perceptron of two layers with 32 units on images of 14 x 14 pixels, trained by AdamW. ``student`` names other
    architectures (`kdgym.students.recipes.networks`). Scorers are larger perceptrons (`kdgym.students.recipes.bank`); their
    readings are applied to what good ones say (`kdgym.envs.select.scorers`).

    ## Budget
    The number of updates. Every update costs 1, whatever is kept: what scorers say is looked up. In the ledger updates are
    ``student_training``; validations, and the student's pass over the pool after each step, are ``student_inference``.

    ## Splits
    Images are cut by a hash of their pixels: for the scorers, for the pool, for validation. Test images are Fashion-MNIST's
    own. The scorers of ``pool="train"`` and ``"evaluation"`` were trained on different images. Hidden are the readings, the
    cycle, and the share of digits. No observation or info has them.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. In another
    population sums may be rounded otherwise.

    ## Headroom
    ``docs/select.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``pool``: students and scorers, ``"train"`` or ``"evaluation"``.
    * ``items``: of the pool.
    * ``place``: places of the right reading among the readings of labels, the commonest first, one of which an episode has.
    * ``foreign``: shares of digits, one of which an episode has.
    * ``steps``, ``updates``, ``batch``: steps of an episode, updates of a step, items of an update.
    * ``learning_rate``: of AdamW. ``student``: its architecture.
    * ``validation_items``, ``test_items``: images of an examination; ``test_draw``: which test images.
    * ``reward``: ``"log_loss"`` or ``"accuracy"``.
    * ``device``: of the population.
    * ``render_mode``, ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    study: Study[SelectSettings]
    config: SelectSettings
    family = "Select"
    items = ("loss_mean",)

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        config = SelectSettings.parse(settings)
        study: Study[SelectSettings] = Study(config)
        f32, i64, n, classes = torch.float32, torch.int64, config.items, study.classes
        super().__init__(
            study,
            num_envs,
            observation_space={
                "histogram": spaces.Box(0, 1, (BINS,)),
                **{name: spaces.Box(low, high, (SCORERS,)) for name, (low, high) in _BY_SCORER.items()},
                "pool_share": spaces.Box(0, 1, (classes,)),
            },
            action_space=Dials(DIALS),
            layout={
                **dict.fromkeys(("item", "given", "uses"), ((n,), i64)),
                "said": ((n, classes), f32),
                "belief": ((SCORERS, n), f32),
                **dict.fromkeys(("reading", "model"), ((SCORERS,), i64)),
                "cycle": ((classes,), i64),
                "order": ((READINGS,), i64),
                "mixed": ((), i64),
                "histogram": ((BINS,), f32),
                "pool_share": ((classes,), f32),
                **dict.fromkeys(_BY_SCORER, ((SCORERS,), f32)),
            },
            **common,
        )
        self._pool = garments_and_digits().to(self.device)

    def _limits(self) -> dict[str, tuple[float, float]]:
        classes = self.study.classes
        return {
            **super()._limits(),
            "item": (0, len(self._pool.label) - 1),
            **dict.fromkeys(("given", "cycle"), (0, classes - 1)),
            "uses": (0, self.config.steps * self.config.updates * self.config.batch),
            **dict.fromkeys(("reading", "order"), (0, READINGS - 1)),
            "model": (0, scorers.MODELS - 1),
            "mixed": (0, len(self.config.foreign) - 1),
        }

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, study, key = self.state, self.study, self.stream(_SCORERS)[rows]
        if restart == "base":
            study.draw_new(state, rows)
        state["cycle"][rows] = scorers.draw_cycle(random.fold(key, 0), study.classes)
        known = torch.tensor(self.config.place, device=self.device)
        place = known[random.integers(random.fold(key, 3), 1, len(known)).squeeze(1)]
        state["order"][rows] = order = scorers.draw_order(random.fold(key, 4), place)
        state["reading"][rows] = scorers.draw_readings(random.fold(key, 1), order)
        state["model"][rows] = random.integers(random.fold(key, 2), SCORERS, scorers.MODELS)
        self._draw_items(rows)
        state["uses"][rows] = 0
        study.begin(state, rows)
        self._ask_scorers(rows)
        self._look(rows)

    def _draw_items(self, rows: Tensor) -> None:
        """Garments whose labels are of some readings, and digits with any labels."""
        state, config, pool, n = self.state, self.config, self._pool, self.config.items
        key, told = self.stream(_ITEMS)[rows], self.stream(_LABELS)[rows]
        own, digit = (
            part[random.integers(random.fold(key, i), n, len(part))]
            for i, part in enumerate((pool.parts["pool"], pool.parts["foreign"]))
        )
        share = torch.tensor(COMMON, dtype=torch.float64, device=self.device).cumsum(0)
        common = torch.searchsorted(share, random.uniform(random.fold(told, 2), n), right=True).clamp_max(READINGS - 1)
        reading = state["order"][rows].gather(1, common)
        calls = scorers.names(state["cycle"][rows]).flatten(1)
        given = calls.gather(1, reading * self.study.classes + pool.label[own])
        rates = torch.tensor(config.foreign, dtype=torch.float64, device=self.device)
        mixed = random.integers(random.fold(told, 1), 1, len(rates))
        state["mixed"][rows] = mixed.squeeze(1)
        alien = random.uniform(random.fold(key, 2), n) < rates[mixed]
        anything = random.integers(random.fold(told, 4), n, self.study.classes)
        state["item"][rows] = torch.where(alien, digit, own)
        state["given"][rows] = torch.where(alien, anything, given)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, study, config = self.state, self.study, self.config
        self.remember(action)
        recipe = {name: value.float() for name, value in self.dials.decode(action).items()}
        trusted = self._trusted(recipe)
        weight = recipe["classes"].double() / recipe["classes"].amax(1, keepdim=True)
        weight = weight.gather(1, state["given"]) * self._kept(recipe, trusted)
        uniform = random.uniform(self.stream(_DRAWS, state["step"]), config.updates * config.batch)
        place = draw(weight, uniform)
        state["uses"].scatter_add_(1, place, torch.ones_like(place))
        for batch in place.split(config.batch, dim=1):
            study.learner.update(state["student"], self._loss(batch, recipe["labels"], trusted))
        self._look(slice(None))
        return study.validate(state, config.batch)

    def _trusted(self, recipe: dict[str, Tensor]) -> Tensor | None:
        """What the trusted scorers say of the pool together, [S, n, C]; None where no recipe asks."""
        if not any(recipe[name].any() for name in (*_OF_SCORERS, "labels")):
            return None
        said = self._good_models(slice(None))
        return scorers.mixed(said, self.state["model"], self._calls(slice(None)), recipe["scorer"])

    def _good_models(self, rows: Tensor | slice) -> Tensor:
        """What the good models say of the pools of ``rows``: probabilities [rows, 2, n, C]."""
        bank, models = self.study.bank, torch.arange(scorers.MODELS, device=self.device)
        column = bank.place[self.state["item"][rows]]
        return bank.look_up(self._table, models.unsqueeze(1), column.unsqueeze(1))

    @cached_property
    def _table(self) -> Tensor:
        return scorers.good_models(self.study.bank)

    def _calls(self, rows: Tensor | slice) -> Tensor:
        """What each scorer calls each class, int64 [S, M, C]."""
        every, reading = scorers.names(self.state["cycle"][rows]), self.state["reading"][rows]
        return every.gather(1, reading.unsqueeze(2).expand(-1, -1, every.shape[2]))

    def _kept(self, recipe: dict[str, Tensor], trusted: Tensor | None) -> Tensor:
        """Which items a recipe keeps, bool [S, n]."""
        state, score = self.state, torch.zeros_like(self.state["belief"][:, 0])
        for name, feature in self._features(recipe["mix"][:, None, None], trusted).items():
            if recipe[name].any():
                score = score + recipe[name].unsqueeze(1) * standardise(feature())
        tie = random.uniform(self.stream(_TIES, state["step"]), self.config.items)
        return kept(score, state["given"], self.study.classes, recipe["keep"], recipe["within_class"], tie)

    def _features(self, mix: Tensor, trusted: Tensor | None) -> dict[str, Callable[[], Tensor]]:
        """What scores are made of, [S, n] each; those of scorers where recipes trust any."""
        state, given, student = self.state, self.state["given"], self.state["said"]
        own: dict[str, Callable[[], Tensor]] = {
            "student_loss": lambda: loss(student, given),
            "student_entropy": lambda: entropy(student),
            "uses": state["uses"].float,
        }
        if trusted is None:
            return own
        theirs = trusted
        return {
            **own,
            "scorer_loss": lambda: loss(theirs, given),
            "scorer_entropy": lambda: entropy(theirs),
            "combined_entropy": lambda: entropy(torch.lerp(student, theirs, mix)),
        }

    def _loss(self, place: Tensor, share: Tensor, trusted: Tensor | None) -> Callable[[Weights], Tensor]:
        """Cross entropy of a batch, items [S, B] of the pool, with given labels and a ``share`` [S] of the scorers'."""
        forward, classes = self.study.learner.architecture.forward, self.study.classes
        images = self._pool.images(self.state["item"].gather(1, place))
        target = F.one_hot(self.state["given"].gather(1, place), classes).float()
        if trusted is not None and share.any():
            theirs = trusted.gather(1, place.unsqueeze(2).expand(-1, -1, classes))
            target = torch.lerp(target, theirs, share[:, None, None])

        def mean(w: Weights) -> Tensor:
            return -(target * log_softmax(forward(w, images).logits)).sum(2).mean(1)

        return mean

    # --- what the teacher sees -----------------------------------------------------------------------------------

    def _ask_scorers(self, rows: Tensor) -> None:
        """Enter what the scorers say of the pool, which is the same all episode long."""
        state, given = self.state, self.state["given"][rows]
        said, model = self._good_models(rows), state["model"][rows]
        belief = scorers.beliefs(said, model, self._calls(rows), given)
        state["loss_mean"][rows] = -(belief + 1e-6).log().mean(2)
        state["entropy_mean"][rows] = entropy(said).mean(2).clamp(0, 2.31).gather(1, model)
        state["belief"][rows] = standardise(ranks(belief).float())
        alike = state["belief"][rows] @ state["belief"][rows].mT / given.shape[1]
        state["scorer_agreement"][rows] = ((alike.sum(2) - 1) / (SCORERS - 1)).clamp(-1, 1)
        state["pool_share"][rows] = F.one_hot(given, self.study.classes).float().mean(1)

    def _look(self, rows: Tensor | slice) -> None:
        """Enter what the students say of the pool, and charge for it."""
        state, learner, n = self.state, self.study.learner, self.config.items
        parts = zip(state["student"][rows].split(_AT_ONCE), state["item"][rows].split(_AT_ONCE), strict=True)
        logits = torch.cat([learner.say(student, self._pool.images(item)).logits for student, item in parts])
        said = torch.nan_to_num(softmax(logits))  # a diverged student says nothing
        belief = said.gather(2, state["given"][rows].unsqueeze(2)).squeeze(2)
        bins = (-(belief + 1e-6).log() / BIN).long().clamp(0, BINS - 1)
        state["said"][rows] = said
        state["histogram"][rows] = F.one_hot(bins, BINS).float().mean(1)
        own = standardise(ranks(belief).float()).unsqueeze(1)
        state["student_agreement"][rows] = (state["belief"][rows] * own).mean(2).clamp(-1, 1)
        ledger.charge(state["ledger"], "student_inference", rows, items=n, flops=n * learner.architecture.flops)

    def _observe(self) -> dict[str, Tensor]:
        own = {name: self.state[name] for name in ("histogram", *_BY_SCORER, "pool_share")}
        return {**self.study.observe(self.state), **own}

    def hidden(self) -> dict[str, Array]:
        """For upper bounds only: ``good``, which scorers read rightly (int64 [S, 6]), the ``place`` of the right reading among
        labels, and ``mixed``, which of the shares of digits the pool has (int64 [S])."""
        order, reading = self.state["order"], self.state["reading"]
        found = {"good": reading == 0, "place": (order == 0).long().argmax(1), "mixed": self.state["mixed"]}
        return {name: value.long().cpu().numpy().copy() for name, value in found.items()}


class SelectEnv(SingleEnv):
    __doc__ = Select.__doc__
    population = Select
