"""Label: teach by choosing whose labels of a pool a student believes, when, and which ones are bought."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.core import SingleEnv, ledger
from kdgym.core.population import Array, common_arguments
from kdgym.core.study import FIRST_PURPOSE, Study, StudyEnv, StudySettings
from kdgym.envs.label.belief import Batch, entropy, heads, made, remembered
from kdgym.spaces import Dial, Dials
from kdgym.students.recipes.bank import ALIKE, TURNS
from kdgym.students.recipes.companies import MEMBERS, all_turned, check_shares, draw_companies, draw_labels
from kdgym.students.recipes.engine import follow
from kdgym.tasks.images import CLASSES

SOURCES = MEMBERS
BINS = 10  # of how sure the own labels of a class are
_ITEMS, _LABELS, _SOURCES, _EXPERT, _ACQUIRE = range(FIRST_PURPOSE, FIRST_PURPOSE + 5)
_BY_SOURCE = ("bought_agreement", "own_agreement", "peers")


def _weight(name: str, meaning: str, neutral: float = 0.0) -> Dial:
    return Dial(name, meaning, 0, 10, neutral, "log", least=0.03)


DIALS = (
    _weight("given", "cross entropy with the given labels", neutral=1.0),
    _weight("bought", "cross entropy with the bought labels", neutral=1.0),
    _weight("pool", "cross entropy with the makers' labels of the pool"),
    Dial("source", "trust in each of the sources", scale="shares", members=SOURCES),
    Dial("own", "from the sources' labels to those of the student's memory"),
    Dial("memory", "share of the memory that an update leaves", 0, 0.999, 0.97, "memory"),
    Dial("align", "power of the running prior that own labels are divided by", 0, 1.5),
    Dial(
        "feedback",
        "step of the memory down its known loss, and its own by the student's gain",
        0,
        1,
        0,
        "log",
        least=0.003,
    ),
    Dial("soft", "from the likeliest class to what makers say"),
    *(Dial(f"threshold_{i}", f"how sure makers are of {name} to be believed") for i, name in enumerate(CLASSES)),
    Dial("low", "share of the threshold from which items count in part", 0, 1, 1),
    Dial("middle", "weight of these items"),
    Dial("views", "from how sure makers are to how sure the memory is of an image moved by a pixel, if it is less"),
    _weight("sublabels", "cross entropy of a head with pairs of a source's label and an own one"),
    Dial("buy", "share of the money left that is spent on the expert's labels"),
    Dial("unsure", "from any items to those that the memory is least sure of"),
)


class LabelSettings(StudySettings):
    """Arguments of `Label`; see there.

    Attributes:
        labelled, unlabelled: items of an episode.
        companies: of sources, that relieve one another in an episode.
        shares: of the given labels, as each of some kinds of models would have them; one kind is sound.
        faulty: probability that the expert is not of the sound kind.
        budget: money for the expert's labels; one costs 1.
    """

    batch: int = Field(32, ge=4, le=1024)
    validation_items: int = Field(40, ge=1, le=4000)
    labelled: int = Field(40, ge=10, le=5000)
    unlabelled: int = Field(400, ge=10, le=10000)
    companies: int = Field(3, ge=1, le=100)
    steps: int = Field(6, ge=1, le=1000)
    updates: int = Field(40, ge=1, le=1000)
    shares: tuple[float, ...] = Field((0.4, 0.12, 0.12, 0.12, 0.12, 0.12), min_length=1, max_length=TURNS)
    faulty: float = Field(0.5, ge=0, le=1)
    budget: int = Field(16, ge=1, le=10000)

    _all_of_them = field_validator("shares")(check_shares)


class Label(StudyEnv):
    """Teach by choosing whose labels of a pool a student believes, when, and which ones are bought.

    ## Description
    A student learns to tell garments apart (`kdgym.tasks.images`) from a few images with given labels, some of which are wrong,
    and a pool of images without any. Labels of the pool have three kinds of makers: five weak sources, the student's own
    memory, and an expert whose labels cost money. An action is a recipe for one step of ``updates`` updates.

    There are six kinds of models (`kdgym.students.recipes.bank`). A *sound* one says what it learned from true labels. The
    others say the same, but six classes of ten move on in a cycle, by 1 to 5 places. Any two kinds disagree on these six
    classes. The sources are of five different kinds, one of them sound, in any order, and say one class of each image.

    The given labels are mixed. Each is as one of the kinds would have it, and ``shares`` has the shares of the kinds, in any
    order. The expert is right in half of the episodes. In the others it is wrong as one of the five turned kinds is. So neither
    what most sources say, nor the given labels, nor what is bought tells whom to trust. The student's validation, which is
    small and has true labels, does, and so does what a student has learned that way.

    ``companies`` of sources, each drawn anew, relieve one another at steps that are drawn: after each third of an episode, or
    one step earlier or later. Where two would begin at once, the first never labels.

    The memory is a moving average of the student's weights. What makers say together is the trusted sources' votes, mixed with
    the memory's probabilities. It is believed where it is sure enough. Nothing of a single image is shown to the teacher.

    ## Action Space
    `kdgym.spaces.Dials`, a ``Box(-1, 1, (29,), float32)`` of named dials. The action 0 is neutral: the given labels alone.
    Shares are softmax(4 * entries).

    | entries | dial | range | neutral | meaning |
    |---|---|---|---|---|
    | 0 | given | 0 to 10 | 1 | cross entropy with the given labels |
    | 1 | bought | 0 to 10 | 1 | cross entropy with the bought labels |
    | 2 | pool | 0 to 10 | 0 | cross entropy with the makers' labels of the pool |
    | 3 to 7 | source | 5 shares | equal | trust in each of the sources |
    | 8 | own | 0 to 1 | 0 | from the sources' labels to those of the student's memory |
    | 9 | memory | 0 to 0.999 | 0.97 | share of the memory that an update leaves |
    | 10 | align | 0 to 1.5 | 0 | power of the running prior that own labels are divided by |
    | 11 | feedback | 0 to 1 | 0 | step of the memory down its known loss, and its own by the student's gain |
    | 12 | soft | 0 to 1 | 0 | from the likeliest class to what makers say |
    | 13 | threshold_0 | 0 to 1 | 0 | how sure makers are of T-shirt to be believed |
    | 14 | threshold_1 | 0 to 1 | 0 | how sure makers are of trousers to be believed |
    | 15 | threshold_2 | 0 to 1 | 0 | how sure makers are of pullover to be believed |
    | 16 | threshold_3 | 0 to 1 | 0 | how sure makers are of dress to be believed |
    | 17 | threshold_4 | 0 to 1 | 0 | how sure makers are of coat to be believed |
    | 18 | threshold_5 | 0 to 1 | 0 | how sure makers are of sandal to be believed |
    | 19 | threshold_6 | 0 to 1 | 0 | how sure makers are of shirt to be believed |
    | 20 | threshold_7 | 0 to 1 | 0 | how sure makers are of sneaker to be believed |
    | 21 | threshold_8 | 0 to 1 | 0 | how sure makers are of bag to be believed |
    | 22 | threshold_9 | 0 to 1 | 0 | how sure makers are of ankle boot to be believed |
    | 23 | low | 0 to 1 | 1 | share of the threshold from which items count in part |
    | 24 | middle | 0 to 1 | 0 | weight of these items |
    | 25 | views | 0 to 1 | 0 | from how sure makers are to how sure the memory is of an image moved by a pixel, if it is less |
    | 26 | sublabels | 0 to 10 | 0 | cross entropy of a head with pairs of a source's label and an own one |
    | 27 | buy | 0 to 1 | 0 | share of the money left that is spent on the expert's labels |
    | 28 | unsure | 0 to 1 | 0 | from any items to those that the memory is least sure of |

    Half of an update's images are of the pool, and a quarter each have given labels and bought ones. A label is bought once;
    money that is left stays for later steps. `kdgym.envs.label.belief` has the formulas.

    ## Observation Space
    A ``Dict`` of float32 boxes. What is said of sources is said of those of the coming step:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (10,) | [0, 1] | validation accuracy by class; of a class without images, the accuracy of all |
    | loss | (1,) | [0, 10] | cross entropy on the validation |
    | change | (1,) | [-10, 10] | what the last step gained, as in the reward |
    | calibration | (1,) | [0, 1] | expected calibration error on the validation |
    | certainty | (1,) | [0, 1] | mean of the largest probability there |
    | bought_agreement | (5,) | [0, 1] | share of the bought labels that each source agrees with; without any, 0.5 |
    | own_agreement | (5,) | [0, 1] | share of the pool on which it agrees with the memory |
    | peers | (5,) | [0, 1] | how often it says the same as another source does, mean of the four |
    | confidence | (100,) | [0, 1] | shares of the pool by the memory's class, and by ten bins of its probability |
    | prior | (10,) | [0, 1] | mean of the memory's probabilities on the pool |
    | budget | (1,) | [0, 1] | share of the money left |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    The fall of the validation loss in this step, or with ``reward="accuracy"`` the rise of its accuracy.

    ## Starting State
    A new student. ``reset(options={"restart": "continue"})`` keeps the weights, with a new optimiser.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    A perceptron of two layers with 32 units on images of 14 x 14 pixels, trained by AdamW. ``student`` names other
    architectures (`kdgym.students.recipes.networks`).

    ## Budget
    The number of updates, and ``budget`` for bought labels, of which one costs 1. Every update costs 1, whoever makes labels.
    In the ledger updates are ``student_training``, validations and the memory's look at the pool ``student_inference``, and
    bought labels ``data_engine``. What is not spent buys nothing.

    ## Splits
    Images are cut by a hash of their pixels: for the sources, for labelled items and the pool, for validation. Test images are
    Fashion-MNIST's own. The sources of ``pool="train"`` and ``"evaluation"`` were trained on different images. Hidden are which
    source is sound, the kinds of sources, labels and expert, and when companies change. No observation or info has them. All
    kinds are drawn alike, so what is said of sources at the first observation does not tell whom to trust: a fitted rule named
    the sound one for 19 % of 1,024 unseen students, where 20 % are chance. With the validation, which has true labels, it named
    the sound one for 33 %.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. In another
    population sums may be rounded otherwise.

    ## Headroom
    ``docs/label.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``pool``: students and sources, ``"train"`` or ``"evaluation"``.
    * ``labelled``, ``unlabelled``: images of an episode.
    * ``companies``: of sources in an episode.
    * ``shares``: of the given labels, as each of some kinds would have them; in any order, and one kind is sound.
    * ``faulty``: probability that the expert is of another kind. ``budget``: money for its labels.
    * ``steps``, ``updates``, ``batch``: steps of an episode, updates of a step, items of an update.
    * ``learning_rate``: of AdamW. ``student``: its architecture.
    * ``validation_items``, ``test_items``: images of an examination; ``test_draw``: which test images.
    * ``reward``: ``"log_loss"`` or ``"accuracy"``.
    * ``device``: of the population.
    * ``render_mode``, ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    study: Study[LabelSettings]
    config: LabelSettings
    family = "Label"
    items = ("peers",)

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        config = LabelSettings.parse(settings)
        study: Study[LabelSettings] = Study(config, heads)
        f32, i64, classes = torch.float32, torch.int64, study.classes
        super().__init__(
            study,
            num_envs,
            observation_space={
                **dict.fromkeys(_BY_SOURCE, spaces.Box(0, 1, (SOURCES,))),
                "confidence": spaces.Box(0, 1, (classes * BINS,)),
                "prior": spaces.Box(0, 1, (classes,)),
                "budget": spaces.Box(0, 1, (1,)),
            },
            action_space=Dials(DIALS),
            layout={
                "item": ((config.labelled + config.unlabelled,), i64),
                "given": ((config.labelled,), i64),
                "expert": ((config.unlabelled,), i64),
                "bought": ((config.budget,), i64),
                **dict.fromkeys(("owned", "place", "faulty"), ((), i64)),
                "model": ((config.companies, SOURCES), i64),
                "begins": ((config.companies,), i64),
                "memory": ((study.learner.network,), f32),
                "doubt": ((config.unlabelled,), f32),
                "confidence": ((classes * BINS,), f32),
                "prior": ((classes,), f32),
                **dict.fromkeys(_BY_SOURCE, ((SOURCES,), f32)),
            },
            **common,
        )

    def _limits(self) -> dict[str, tuple[float, float]]:
        config, classes = self.config, self.study.classes
        return {
            **super()._limits(),
            "item": (0, len(self.study.corpus.label) - 1),
            **dict.fromkeys(("given", "expert"), (0, classes - 1)),
            "faulty": (0, 1),
            "bought": (0, config.unlabelled - 1),
            "owned": (0, config.budget),
            "place": (0, len(config.shares) - 1),
            "model": (0, len(self.study.bank.kinds) - 1),
            "begins": (0, config.steps + config.companies),
        }

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, study, config = self.state, self.study, self.config
        if restart == "base":
            study.draw_new(state, rows)
        drawn = draw_companies(study.bank, self.stream(_SOURCES)[rows], config.companies, config.steps)
        state["model"][rows], state["begins"][rows] = drawn
        self._draw_items(rows)
        state["memory"][rows] = state["student"][rows, : study.learner.network]
        state["prior"][rows], state["owned"][rows], state["bought"][rows] = 1 / study.classes, 0, 0
        study.begin(state, rows)
        self._look(rows, torch.zeros_like(state["step"]))

    def _draw_items(self, rows: Tensor) -> None:
        """Items, mixed labels of the first of them, and the expert's of the pool."""
        state, config, corpus = self.state, self.config, self.study.corpus
        key, doubted = self.stream(_ITEMS)[rows], self.stream(_EXPERT)[rows]
        parts = (corpus.parts["labelled"], config.labelled), (corpus.parts["pool"], config.unlabelled)
        labelled, pool = (p[random.integers(random.fold(key, i), n, len(p))] for i, (p, n) in enumerate(parts))
        state["item"][rows] = torch.cat([labelled, pool], dim=1)
        labels = draw_labels(self.stream(_LABELS)[rows], corpus.label[labelled], config.shares)
        state["given"][rows], state["place"][rows] = labels
        faulty = random.uniform(random.fold(doubted, 0), 1) < config.faulty
        kind = faulty * (1 + random.integers(random.fold(doubted, 1), 1, TURNS - 1))
        state["expert"][rows] = all_turned(self.device)[kind, corpus.label[pool]]
        state["faulty"][rows] = faulty.long().squeeze(1)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, study = self.state, self.study
        self.remember(action)
        recipe = {name: value.float() for name, value in self.dials.decode(action).items()}
        self._buy(recipe)
        threshold = torch.stack([recipe[f"threshold_{i}"] for i in range(study.classes)], dim=1)
        label = self._labels(slice(None), state["step"])
        for batch in self._batches(recipe, threshold, label):
            self._train(batch, recipe)
        self._look(slice(None), state["step"] + 1)
        return study.validate(state, self.config.batch)

    def _buy(self, recipe: dict[str, Tensor]) -> None:
        """Buy the expert's labels of items of the pool that have none yet: any, or those that the memory is least sure of."""
        state, config = self.state, self.config
        left = min(config.budget, config.unlabelled) - state["owned"]
        number = (recipe["buy"] * left).round().long()
        tie = random.uniform(self.stream(_ACQUIRE, state["step"]), config.unlabelled)
        wanted = torch.lerp(_place(tie), _place(state["doubt"]), recipe["unsure"].double().unsqueeze(1)) + tie
        place = torch.arange(config.budget, device=self.device)
        has = place < state["owned"].unsqueeze(1)
        wanted.scatter_add_(1, state["bought"], torch.where(has, -torch.inf, 0.0).double())
        order = wanted.argsort(dim=1, descending=True)[:, : config.budget]
        order = F.pad(order, (0, config.budget - order.shape[1]))
        fresh = order.gather(1, (place - state["owned"].unsqueeze(1)).clamp_min(0))
        new = ~has & (place < (state["owned"] + number).unsqueeze(1))
        state["bought"][:] = torch.where(new, fresh, state["bought"])
        state["owned"].add_(number)
        ledger.charge(state["ledger"], "data_engine", items=number, money=number)

    def _labels(self, rows: Tensor | slice, step: Tensor) -> Tensor:
        """What the sources of a step [S] call the items of the pool, int64 [rows, n, M]."""
        pool = self.state["item"][rows][:, self.config.labelled :]
        return self._table[self._sources(rows, step).unsqueeze(1), self.study.bank.place[pool].unsqueeze(2)]

    def _sources(self, rows: Tensor | slice, step: Tensor) -> Tensor:
        """The models that are the sources at a step [S], int64 [rows, M]."""
        begun = (self.state["begins"][rows] <= step[rows].unsqueeze(1)).sum(1) - 1
        return self.state["model"][rows].gather(1, begun[:, None, None].expand(-1, 1, SOURCES)).squeeze(1)

    @cached_property
    def _table(self) -> Tensor:
        """What every model calls every item, int64 [M, columns]."""
        return self.study.bank.logits[0].argmax(2)

    def _train(self, batch: Batch, recipe: dict[str, Tensor]) -> None:
        """One update of every student, and of its memory."""
        state, study = self.state, self.study
        paired = recipe["sublabels"] > 0
        fed_back = bool(recipe["feedback"].any())
        before = batch.known_loss(study.learner.named(state["student"])) if fed_back else None
        study.learner.update(state["student"], batch.loss, paired if paired.any() else None)
        memory = state["memory"]
        follow(memory, state["student"][:, : study.learner.network], recipe["memory"])
        if before is not None:
            gained = before - batch.known_loss(study.learner.named(state["student"]))
            memory.sub_(recipe["feedback"].unsqueeze(1) * batch.slope(memory, gained))

    def _batches(self, recipe: dict[str, Tensor], threshold: Tensor, label: Tensor) -> Iterator[Batch]:
        """A quarter of given labels, a quarter of bought ones, and items of the pool with what the memory, as it is by then,
        makes of them."""
        state, study, config = self.state, self.study, self.config
        quarter = max(1, config.batch // 4)
        first = study.places(state, 0, quarter, config.labelled)
        owned = study.places(state, 1, quarter, state["owned"].clamp_min(1).unsqueeze(1))
        pooled = study.places(state, 2, config.batch - 2 * quarter, config.unlabelled)
        each = torch.stack([recipe["given"], recipe["bought"] * (state["owned"] > 0)], dim=1) / quarter
        known, own = each.repeat_interleave(quarter, dim=1), partial(remembered, study.learner, state["memory"])
        for given, among, third in zip(first, owned, pooled, strict=True):
            second = state["bought"].gather(1, among)
            place = torch.cat([given, config.labelled + second, config.labelled + third], dim=1)
            images = study.corpus.images(state["item"].gather(1, place))
            told = torch.cat([state["given"].gather(1, given), state["expert"].gather(1, second)], dim=1)
            said = label.gather(1, third.unsqueeze(2).expand(-1, -1, SOURCES))
            target, weight, pair = made(own, state["prior"], images[:, 2 * quarter :], said, recipe, threshold)
            yield Batch(study.learner, images, told, known, target, recipe["pool"].unsqueeze(1) * weight, pair, recipe)

    # --- what the teacher sees -----------------------------------------------------------------------------------

    def _look(self, rows: Tensor | slice, step: Tensor) -> None:
        """Enter what the sources of a step [S] and the memory say of the pool, and charge for the memory's."""
        state, study = self.state, self.study
        pool = state["item"][rows][:, self.config.labelled :]
        own = remembered(study.learner, state["memory"][rows], study.corpus.images(pool))
        sure, choice = own.max(2)
        label = self._labels(rows, step)
        state["doubt"][rows], state["prior"][rows] = entropy(own), own.mean(1)
        at = choice * BINS + (sure * BINS).long().clamp(0, BINS - 1)
        found = torch.zeros_like(state["confidence"][rows])
        state["confidence"][rows] = found.scatter_add_(1, at, torch.ones_like(sure)) / pool.shape[1]
        state["own_agreement"][rows] = (label == choice.unsqueeze(2)).float().mean(1)
        alike = (label.unsqueeze(3) == label.unsqueeze(2)).float().mean(1)
        state["peers"][rows] = ((alike.sum(2) - 1) / (SOURCES - 1)).clamp(0, 1)
        bought, owned = state["bought"][rows], state["owned"][rows].unsqueeze(1)
        told = state["expert"][rows].gather(1, bought).unsqueeze(2)
        right = label.gather(1, bought.unsqueeze(2).expand(-1, -1, SOURCES)) == told
        counts = torch.arange(bought.shape[1], device=self.device) < owned
        total = (right & counts.unsqueeze(2)).sum(1)
        state["bought_agreement"][rows] = torch.where(owned > 0, total / owned.clamp_min(1), 0.5)
        flops = pool.shape[1] * study.learner.architecture.flops
        ledger.charge(state["ledger"], "student_inference", rows, items=pool.shape[1], flops=flops)

    def _observe(self) -> dict[str, Tensor]:
        state = self.state
        own = {name: state[name] for name in (*_BY_SOURCE, "confidence", "prior")}
        return {**self.study.observe(state), **own, "budget": 1 - state["owned"].unsqueeze(1) / self.config.budget}

    def hidden(self) -> dict[str, Array]:
        """For upper bounds only: which source is good now (``good``, int64 [S, 5]), which of the setting ``shares`` is that
        of true labels (``place``), and whether the expert is ``faulty``, int64 [S] each."""
        state, model = self.state, self._sources(slice(None), self.state["step"])
        good = torch.tensor([kind == ALIKE[0] for kind in self.study.bank.kinds], device=self.device).long()
        found = {"good": good[model], "place": state["place"], "faulty": state["faulty"]}
        return {name: value.cpu().numpy().copy() for name, value in found.items()}


def _place(values: Tensor) -> Tensor:
    """Places 0 to n - 1 in the order of the last axis, float64."""
    return values.argsort(dim=-1, stable=True).argsort(dim=-1).double()


class LabelEnv(SingleEnv):
    __doc__ = Label.__doc__
    population = Label
