"""Select: teach by choosing which items of a pool a student trains on."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.core import SingleEnv
from kdgym.core.population import Array, common_arguments
from kdgym.core.study import FIRST_PURPOSE, MAX_LOSS, Study, StudyEnv, StudySettings
from kdgym.envs.select.ranking import draw, kept, ranks, standardise
from kdgym.spaces import Dial, Dials
from kdgym.students.recipes.engine import Weights
from kdgym.tasks.images import CLASSES, garments_and_digits

SCORERS, READINGS, BASES = 6, 4, 2
RENAMED = 5
BINS = 10
_ITEMS, _LABELS, _SCORERS, _TIES = range(FIRST_PURPOSE, FIRST_PURPOSE + 4)
_TINY = 1e-6


def _signed(name: str, meaning: str) -> Dial:
    return Dial(name, f"weight in an item's score of {meaning}", -2, 2, 0)


DIALS = (
    _signed("student_loss", "the student's loss on its given label"),
    _signed("student_entropy", "the entropy of what the student says"),
    _signed("uses", "how often it was trained on"),
    Dial("scorer", "trust in each of the scorers", scale="shares", members=SCORERS),
    _signed("scorer_loss", "the trusted scorers' loss on its given label"),
    _signed("scorer_entropy", "the entropy of what the trusted scorers say"),
    _signed("combined_entropy", "the entropy of what the trusted scorers and the student say together"),
    Dial("mix", "share of the scorers in what both say together", 0, 1, 0.5),
    Dial("keep", "share of the pool that is kept, the highest scores first", 0.05, 1, 1, "log"),
    Dial("within_class", "from ranks among all items to ranks within the given class", 0, 1, 1),
    Dial("classes", "relative weight of each class in the draw of what is kept", scale="shares", members=len(CLASSES)),
    Dial("labels", "from the given labels to the trusted scorers' probabilities", 0, 1, 0),
)
_BY_SCORER = {
    "loss_mean": (0, MAX_LOSS),
    "entropy_mean": (0, 2.31),
    "student_agreement": (-1, 1),
    "scorer_agreement": (-1, 1),
}
_SCORES = ("student_loss", "student_entropy", "uses", "scorer_loss", "scorer_entropy", "combined_entropy")


class SelectSettings(StudySettings):
    steps: int = Field(6, ge=1, le=1000)
    items: int = Field(1200, ge=20, le=10000)
    noise: tuple[float, ...] = (0.4, 0.75, 0.9)
    foreign: tuple[float, ...] = (0.0, 0.4)
    wrong: tuple[float, ...] = (3, 2, 1)
    further: tuple[int, ...] = (0, 1, 1, 2)
    anneal: bool = True


class Select(StudyEnv):
    study: Study[SelectSettings]
    config: SelectSettings
    family = "Select"

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
                "item": ((n,), i64),
                "given": ((n,), i64),
                "uses": ((n,), i64),
                "said": ((n, classes), f32),
                "believed": ((SCORERS, n), f32),
                "reading": ((SCORERS,), i64),
                "base": ((SCORERS,), i64),
                "cycle": ((classes,), i64),
                "noisy": ((), i64),
                "mixed": ((), i64),
                "histogram": ((BINS,), f32),
                "pool_share": ((classes,), f32),
                **dict.fromkeys(_BY_SCORER, ((SCORERS,), f32)),
            },
            **common,
        )
        self._pool = garments_and_digits().to(self.device)

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, study = self.state, self.study
        if restart == "base":
            study.draw_new(state, rows)
        self._draw_scorers(rows)
        self._draw_items(rows)
        state["uses"][rows] = 0
        study.begin(state, rows)
        self._meet(rows)
        self._look(rows)

    def _draw_scorers(self, rows: Tensor) -> None:
        """Scorers of each reading of some classes, in any order."""
        state, key, classes = self.state, self.stream(_SCORERS)[rows], self.study.classes
        moved = random.uniform(random.fold(key, 0), classes).argsort(dim=1)[:, :RENAMED]
        state["cycle"][rows] = torch.arange(classes, device=key.device).expand(len(key), -1)
        state["cycle"][rows] = state["cycle"][rows].scatter(1, moved, moved.roll(-1, dims=1))
        further = torch.tensor(self.config.further)[random.integers(random.fold(key, 1), SCORERS - READINGS, len(self.config.further))]
        reading = torch.cat([torch.arange(READINGS, device=key.device).expand(len(key), -1), further], dim=1)
        order = random.uniform(random.fold(key, 2), SCORERS).argsort(dim=1)
        state["reading"][rows] = reading.gather(1, order)
        state["base"][rows] = random.integers(random.fold(key, 3), SCORERS, BASES)

    def _draw_items(self, rows: Tensor) -> None:
        state, config, corpus = self.state, self.config, self._pool
        key, told, n = self.stream(_ITEMS)[rows], self.stream(_LABELS)[rows], config.items
        own, foreign = (
            part[random.integers(random.fold(key, i), n, len(part))]
            for i, part in enumerate((corpus.parts["pool"], corpus.parts["foreign"]))
        )
        noisy = random.integers(random.fold(told, 0), 1, len(config.noise)).squeeze(1)
        mixed = random.integers(random.fold(told, 4), 1, len(config.foreign)).squeeze(1)
        rate = torch.tensor(config.noise)[noisy].unsqueeze(1)
        alien = random.uniform(random.fold(key, 2), n) < torch.tensor(config.foreign)[mixed].unsqueeze(1)
        label = corpus.label[own]
        wrong = random.uniform(random.fold(told, 1), n) < rate
        which = 1 + torch.searchsorted(torch.tensor(config.wrong).double().cumsum(0) / sum(config.wrong), random.uniform(random.fold(told, 2), n), right=True)
        anything = random.integers(random.fold(told, 3), n, self.study.classes)
        given = self._read(rows).gather(1, (torch.where(wrong, which, 0)).unsqueeze(2).expand(-1, -1, self.study.classes)).gather(2, label.unsqueeze(2)).squeeze(2)
        state["item"][rows] = torch.where(alien, foreign, own)
        state["given"][rows] = torch.where(alien, anything, given)
        state["noisy"][rows], state["mixed"][rows] = noisy, mixed

    def _read(self, rows) -> Tensor:
        """What every reading calls each class: int64 [S, R, C]."""
        cycle = self.state["cycle"][rows]
        calls = [torch.arange(cycle.shape[1], device=cycle.device).expand_as(cycle)]
        for _ in range(READINGS - 1):
            calls.append(cycle.gather(1, calls[-1]))
        return torch.stack(calls, dim=1)

    def _bases(self, rows) -> Tensor:
        """What the good models say of the pool: probabilities [S, B, n, C]."""
        bank, column = self.study.bank, self.study.bank.place[self.state["item"][rows]]
        return torch.stack([torch.softmax(bank.logits[0][m][column], dim=2) for m in bank.of("good")[:BASES]], dim=1)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, study, config = self.state, self.study, self.config
        recipe = {name: value.float() for name, value in self.dials.decode(action).items()}
        trusted = self._trusted(recipe["scorer"]) if any(recipe[d].any() for d in ("labels", "scorer_loss", "scorer_entropy", "combined_entropy")) else None
        chosen = self._select(recipe, trusted)
        weight = chosen * recipe["classes"].double().gather(1, state["given"])
        places = random.uniform(self.stream(_TIES, state["step"]) + 1, config.updates * config.batch)
        places = draw(weight, places)
        state["uses"].scatter_add_(1, places, torch.ones_like(places))
        for i, place in enumerate(places.split(config.batch, dim=1)):
            rate = 1 - (state["step"] + i / config.updates) / config.steps if config.anneal else None
            study.update(state, self._loss(recipe, place, trusted), config.batch, rate=rate)
        self._look(slice(None))
        return study.validate(state)

    def _trusted(self, share: Tensor) -> Tensor:
        """The scorers' probabilities, mixed by trust: [S, n, C]."""
        state, classes = self.state, self.study.classes
        calls = F.one_hot(self._read(slice(None)).gather(1, state["reading"].unsqueeze(2).expand(-1, -1, classes)), classes).float()
        said = self._bases(slice(None))
        total = torch.zeros_like(said[:, 0])
        for b in range(BASES):
            weight = share * (state["base"] == b)
            total += said[:, b] @ torch.einsum("sm,smck->sck", weight, calls)
        return total

    def _select(self, recipe: dict[str, Tensor], trusted: Tensor | None) -> Tensor:
        state = self.state
        said, given = torch.softmax(state["said"], dim=2), state["given"].unsqueeze(2)
        score = torch.zeros_like(state["said"][..., 0])

        def loss(p): return -(p.gather(2, given).squeeze(2) + _TINY).log()
        def ent(p): return -(p * (p + _TINY).log()).sum(2)
        mix = recipe["mix"][:, None, None]
        features = {"student_loss": lambda: loss(said), "student_entropy": lambda: ent(said), "uses": lambda: state["uses"].float(),
            "scorer_loss": lambda: loss(trusted), "scorer_entropy": lambda: ent(trusted), "combined_entropy": lambda: ent(mix * trusted + (1 - mix) * said)}
        for name, f in features.items():
            if recipe[name].any():
                score = score + recipe[name].unsqueeze(1) * standardise(f())
        tie = random.uniform(self.stream(_TIES, state["step"]), self.config.items)
        return kept(score, state["given"], self.study.classes, recipe["keep"], recipe["within_class"], tie)

    def _loss(self, recipe, place, trusted):
        state, study = self.state, self.study
        images = self._pool.images(state["item"].gather(1, place))
        target = F.one_hot(state["given"].gather(1, place), study.classes).float()
        if trusted is not None and recipe["labels"].any():
            theirs = trusted.gather(1, place.unsqueeze(2).expand(-1, -1, study.classes))
            target = torch.lerp(target, theirs, recipe["labels"][:, None, None])

        def loss(w: Weights) -> Tensor:
            said = torch.log_softmax(study.learner.architecture.forward(w, images).logits, dim=2)
            return -(target * said).sum(2).mean(1)
        return loss

    def _meet(self, rows: Tensor) -> None:
        state, classes = self.state, self.study.classes
        said, given = self._bases(rows), state["given"][rows]
        back = self._read(rows).argsort(dim=2).gather(1, state["reading"][rows].unsqueeze(2).expand(-1, -1, classes))
        meant = back.gather(2, given.unsqueeze(1).expand(-1, SCORERS, -1))
        sure = said.gather(1, state["base"][rows][:, :, None, None].expand(-1, -1, *said.shape[2:]))
        p = sure.gather(3, meant.unsqueeze(3)).squeeze(3)
        b = ranks(p).float()
        state["believed"][rows] = b
        state["loss_mean"][rows] = -(p + _TINY).log().mean(2)
        state["entropy_mean"][rows] = (-(sure * (sure + _TINY).log()).sum(3)).mean(2).clamp(0, 2.31)
        z = standardise(b)
        alike = z @ z.mT / z.shape[2]
        state["scorer_agreement"][rows] = ((alike.sum(2) - 1) / (SCORERS - 1)).clamp(-1, 1)
        state["pool_share"][rows] = F.one_hot(given, classes).float().mean(1)

    def _look(self, rows: Tensor | slice) -> None:
        state, study = self.state, self.study
        students, item = state["student"][rows], state["item"][rows]
        said = torch.cat([study.learner.say(s, self._pool.images(i)).logits for s, i in zip(students.split(8), item.split(8))])
        state["said"][rows] = said
        p = torch.softmax(said, dim=2).gather(2, state["given"][rows].unsqueeze(2)).squeeze(2)
        loss = -(p + _TINY).log()
        edge = (loss * 2).long().clamp(0, BINS - 1)
        state["histogram"][rows] = torch.zeros(len(p), BINS).scatter_add_(1, edge, torch.ones_like(loss)) / p.shape[1]
        z, b = standardise(ranks(p).float()), standardise(state["believed"][rows])
        state["student_agreement"][rows] = ((b * z.unsqueeze(1)).mean(2)).clamp(-1, 1)

    def _observe(self) -> dict[str, Tensor]:
        state = self.state
        return {**self.study.observe(state), **{name: state[name] for name in ("histogram", *_BY_SCORER, "pool_share")}}

    def hidden(self) -> dict[str, Array]:
        return {name: self.state[name].cpu().numpy().copy() for name in ("reading", "noisy", "mixed")}


class SelectEnv(SingleEnv):
    __doc__ = Select.__doc__
    population = Select
