"""Label: teach by choosing whose labels of a pool a student believes, when, and which true ones are bought."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.core import SingleEnv, ledger
from kdgym.core.population import Array, common_arguments
from kdgym.core.study import FIRST_PURPOSE, MAX_LOSS, Study, StudyEnv, StudySettings
from kdgym.envs.label.belief import aligned, believed, entropy, votes
from kdgym.envs.label.sources import COMPANIES, SOURCES, draw_beginnings, draw_company
from kdgym.spaces import Dial, Dials
from kdgym.students.recipes.bank import FAULTS, fault
from kdgym.students.recipes.engine import Weights, follow
from kdgym.tasks.images import CLASSES

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
    Dial("soft", "from the likeliest class to what makers say"),
    *(Dial(f"threshold_{i}", f"how sure makers are of {name} to be believed") for i, name in enumerate(CLASSES)),
    Dial("low", "share of the threshold from which items count in part", 0, 1, 1),
    Dial("middle", "weight of these items"),
    Dial("buy", "share of the money left that is spent on true labels"),
    Dial("unsure", "from any items to those that the memory is least sure of"),
)


class LabelSettings(StudySettings):
    """Arguments of `Label`; see there.

    Attributes:
        labelled, unlabelled: items of an episode.
        companies: of sources, that relieve one another in an episode.
        noise: shares of wrong given labels, one of which an episode has.
        shared: share of the wrong labels that have the fault of sources; the others are of any class.
        budget: money for true labels; one costs 1.
    """

    learning_rate: float = Field(2e-3, gt=0, le=1)
    validation_items: int = Field(40, ge=1, le=4000)
    labelled: int = Field(60, ge=10, le=5000)
    unlabelled: int = Field(800, ge=10, le=10000)
    companies: int = Field(3, ge=1, le=100)
    noise: tuple[float, ...] = Field((0.0, 0.3, 0.6), min_length=1)
    shared: float = Field(0.8, ge=0, le=1)
    faulty: float = Field(0.5, ge=0, le=1)
    budget: int = Field(16, ge=1, le=10000)


class Label(StudyEnv):
    """Teach by choosing whose labels of a pool a student believes, when, and which true ones are bought."""

    study: Study[LabelSettings]
    config: LabelSettings
    family = "Label"

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        config = LabelSettings.parse(settings)
        study: Study[LabelSettings] = Study(config)
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
                **dict.fromkeys(("owned", "noisy", "faulty"), ((), i64)),
                "model": ((config.companies, SOURCES), i64),
                **dict.fromkeys(("company", "begins"), ((config.companies,), i64)),
                "memory": ((study.learner.network,), f32),
                "doubt": ((config.unlabelled,), f32),
                "confidence": ((classes * BINS,), f32),
                "prior": ((classes,), f32),
                **dict.fromkeys(_BY_SOURCE, ((SOURCES,), f32)),
            },
            **common,
        )
        self._faults = torch.stack([fault(number, "faulty") for number in range(FAULTS)]).to(self.device)

    def _limits(self) -> dict[str, tuple[float, float]]:
        config, classes = self.config, self.study.classes
        return {
            **super()._limits(),
            "item": (0, len(self.study.corpus.label) - 1),
            **dict.fromkeys(("given", "expert"), (0, classes - 1)),
            "faulty": (0, 1),
            "bought": (0, config.unlabelled - 1),
            "owned": (0, config.budget),
            "noisy": (0, len(config.noise) - 1),
            "model": (0, len(self.study.bank.kinds) - 1),
            "company": (0, len(COMPANIES) - 1),
            "begins": (0, config.steps + config.companies),
        }

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, study, key = self.state, self.study, self.stream(_SOURCES)[rows]
        if restart == "base":
            study.draw_new(state, rows)
        wrong = random.integers(random.fold(key, 0), 1, FAULTS).squeeze(1)
        for turn in range(self.config.companies):
            model, company = draw_company(study.bank, random.fold(key, 2, turn), wrong)
            state["model"][rows, turn], state["company"][rows, turn] = model, company
        state["begins"][rows] = draw_beginnings(random.fold(key, 1), self.config.steps, self.config.companies)
        self._draw_items(rows, wrong)
        state["memory"][rows] = state["student"][rows, : study.learner.network]
        state["prior"][rows] = 1 / study.classes
        state["owned"][rows] = 0
        state["bought"][rows] = 0
        study.begin(state, rows)
        self._look(rows, torch.zeros_like(state["step"]))

    def _draw_items(self, rows: Tensor, wrong: Tensor) -> None:
        """Items, and given labels of the first of them, some of which are ``wrong`` [rows] as that fault has it."""
        state, config, corpus = self.state, self.config, self.study.corpus
        key, told = self.stream(_ITEMS)[rows], self.stream(_LABELS)[rows]
        labelled, pool = (
            part[random.integers(random.fold(key, i), n, len(part))]
            for i, (part, n) in enumerate(
                ((corpus.parts["labelled"], config.labelled), (corpus.parts["pool"], config.unlabelled))
            )
        )
        state["item"][rows] = torch.cat([labelled, pool], dim=1)
        noisy = random.integers(random.fold(told, 0), 1, len(config.noise))
        rate = torch.tensor(config.noise, device=key.device)[noisy]
        draw = random.uniform(random.fold(told, 1), config.labelled)
        anything = random.integers(random.fold(told, 2), config.labelled, self.study.classes)
        true = corpus.label[labelled]
        other = torch.where(draw < config.shared * rate, self._faults[wrong].gather(1, true), anything)
        state["given"][rows] = torch.where(draw < rate, other, true)
        state["noisy"][rows] = noisy.squeeze(1)
        doubted = self.stream(_EXPERT)[rows]
        faulty = random.uniform(random.fold(doubted, 0), 1) < config.faulty
        misses = random.uniform(random.fold(doubted, 1), config.unlabelled) < config.shared
        true = corpus.label[pool]
        state["expert"][rows] = torch.where(faulty & misses, self._faults[wrong].gather(1, true), true)
        state["faulty"][rows] = faulty.long().squeeze(1)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, study = self.state, self.study
        self.remember(action)
        recipe = {name: value.float() for name, value in self.dials.decode(action).items()}
        self._buy(recipe)
        threshold = torch.stack([recipe[f"threshold_{i}"] for i in range(study.classes)], dim=1)
        label = self._labels(slice(None), state["step"])
        for update in range(self.config.updates):
            study.update(state, self._loss(update, recipe, threshold, label), self.config.batch)
            follow(state["memory"], state["student"][:, : study.learner.network], recipe["memory"])
        self._look(slice(None), state["step"] + 1)
        return study.validate(state)

    def _buy(self, recipe: dict[str, Tensor]) -> None:
        """Buy true labels of items of the pool that have none yet: any, or those that the memory is least sure of."""
        state, config = self.state, self.config
        left = config.budget - state["owned"]
        number = (recipe["buy"] * left + 1e-4).long()
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
        state = self.state
        begun = (state["begins"][rows] <= step[rows].unsqueeze(1)).sum(1) - 1
        model = state["model"][rows].gather(1, begun[:, None, None].expand(-1, 1, SOURCES))
        pool = state["item"][rows][:, self.config.labelled :]
        return self._table[model, self.study.bank.place[pool].unsqueeze(2)]

    @cached_property
    def _table(self) -> Tensor:
        """What every model calls every item, int64 [M, columns]."""
        return self.study.bank.logits[0].argmax(2)

    def _loss(
        self, update: int, recipe: dict[str, Tensor], threshold: Tensor, label: Tensor
    ) -> Callable[[Weights], Tensor]:
        """Cross entropies of an update: given labels, bought ones, and what is believed of the pool."""
        state, study, config = self.state, self.study, self.config
        quarter = max(1, config.batch // 4)
        first = study.places(state, update, 0, quarter, config.labelled)
        second = state["bought"].gather(
            1, study.places(state, update, 1, quarter, state["owned"].clamp_min(1).unsqueeze(1))
        )
        third = study.places(state, update, 2, config.batch - 2 * quarter, config.unlabelled)
        item = state["item"].gather(1, torch.cat([first, config.labelled + second, config.labelled + third], dim=1))
        images = study.corpus.images(item)
        told = torch.cat([state["given"].gather(1, first), state["expert"].gather(1, second)], dim=1)
        target, weight = self._believed(images[:, 2 * quarter :], label, third, recipe, threshold)
        target = torch.cat([F.one_hot(told, study.classes).float(), target], dim=1)
        each = torch.stack([recipe["given"], recipe["bought"] * (state["owned"] > 0)], dim=1) / quarter
        share = torch.cat(
            [each.repeat_interleave(quarter, dim=1), recipe["pool"].unsqueeze(1) * weight / weight.shape[1]], dim=1
        )
        forward = study.learner.architecture.forward

        def loss(w: Weights) -> Tensor:
            return -(share.unsqueeze(2) * target * torch.log_softmax(forward(w, images).logits, dim=2)).sum((1, 2))

        return loss

    def _believed(
        self, images: Tensor, label: Tensor, place: Tensor, recipe: dict[str, Tensor], threshold: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Targets [S, n, C] and weights [S, n] of items of the pool."""
        state, classes = self.state, self.study.classes
        if not recipe["pool"].any():
            return torch.zeros(*place.shape, classes, device=self.device), torch.zeros(place.shape, device=self.device)
        said = votes(label.gather(1, place.unsqueeze(2).expand(-1, -1, SOURCES)), recipe["source"], classes)
        if recipe["own"].any():
            own = torch.softmax(self.study.learner.say(self._remembering(slice(None)), images).logits, dim=2)
            own = aligned(own, state["prior"], recipe["align"])
            said = torch.lerp(said, own, recipe["own"][:, None, None])
        return believed(said, said.amax(2), threshold, recipe)

    def _remembering(self, rows: Tensor | slice) -> Tensor:
        return F.pad(self.state["memory"][rows], (0, self.study.learner.weights - self.study.learner.network))

    # --- what the teacher sees -----------------------------------------------------------------------------------

    def _look(self, rows: Tensor | slice, step: Tensor) -> None:
        """Enter what the sources of a step [S] and the memory say of the pool, and charge for the memory's."""
        state, study, classes = self.state, self.study, self.study.classes
        pool = state["item"][rows][:, self.config.labelled :]
        logits = study.learner.say(self._remembering(rows), study.corpus.images(pool)).logits
        own = torch.nan_to_num(torch.softmax(logits, dim=2), nan=1 / classes)  # a diverged memory is sure of nothing
        sure, choice = own.max(2)
        label = self._labels(rows, step)
        state["doubt"][rows] = entropy(own)
        state["prior"][rows] = own.mean(1)
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
        items = pool.shape[1]
        ledger.charge(
            state["ledger"],
            "student_inference",
            rows,
            items=items,
            flops=items * study.learner.architecture.flops,
        )

    def _observe(self) -> dict[str, Tensor]:
        state = self.state
        own = {name: state[name] for name in (*_BY_SOURCE, "confidence", "prior")}
        return {**self.study.observe(state), **own, "budget": 1 - state["owned"].unsqueeze(1) / self.config.budget}

    def hidden(self) -> dict[str, Array]:
        """For upper bounds only: which sources are good now (``good``, int64 [S, 5]), and of which share the wrong labels are
        in the setting ``noise`` (``noisy``, int64 [S])."""
        state = self.state
        begun = (state["begins"] <= state["step"].unsqueeze(1)).sum(1) - 1
        model = state["model"].gather(1, begun[:, None, None].expand(-1, 1, SOURCES)).squeeze(1)
        good = torch.tensor([kind == "good" for kind in self.study.bank.kinds], device=self.device).long()
        found = {"good": good[model], "noisy": state["noisy"], "faulty": state["faulty"]}
        return {name: value.cpu().numpy().copy() for name, value in found.items()}


def _place(values: Tensor) -> Tensor:
    """Places 0 to n - 1 in the order of the last axis, float64."""
    return values.argsort(dim=-1, stable=True).argsort(dim=-1).double()


class LabelEnv(SingleEnv):
    __doc__ = Label.__doc__
    population = Label
