"""A bank of models of known quality, which an environment hides: teachers to imitate, scorers of items, makers of labels.

Perceptrons on garments, pretrained once and kept in the user's cache. There are two halves, ``"train"`` and ``"evaluation"``,
whose models have other initial weights and were trained on other items, neither of which students ever see.

| kind | copies | trained on |
|---|---|---|
| good | 2 | all items of its half |
| sound | 6 | the same |
| turned_1 to turned_5 | 6 each | none: the sound ones, whose six classes of a cycle move on by 1 to 5 |
| assisted | 1 each | 40 items, reading a label beside the image, which is wrong for 30, 50, 70 or 90 % of them |

Of sound and turned models any two kinds disagree on the same six classes, and agree on the others. They are as sure of what
they say, as only outputs are exchanged. So nothing but the truth tells the sound ones.

Every model but the assisted ones has an *outspoken* variant: it goes on learning by cross entropy minus `OUTSPOKEN` times the
divergence of its probabilities from the mean probabilities of the class, as the teachers of MCMI do (Ye et al., "Bayes
conditional distribution estimation for knowledge distillation based on conditional mutual information", ICLR 2024, section 4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym import random
from kdgym.storage import cache_directory, load_or_build
from kdgym.students.recipes.engine import Learner, LearnerConfig, Weights
from kdgym.students.recipes.networks import Output, perceptron
from kdgym.tasks.images import CLASSES, PIXELS, Corpus, garments, garments_and_digits

Half = Literal["train", "evaluation"]
HALVES: tuple[Half, Half] = ("train", "evaluation")
GOOD, SOUND = 2, 6  # copies
TURNS = 6
ALIKE = ("sound", *(f"turned_{by}" for by in range(1, TURNS)))
ASSISTED = (0.3, 0.5, 0.7, 0.9)  # share of their labels that are of another class
WIDTHS = (64, 32)
OUTSPOKEN = 0.2
_CYCLE = 6  # classes that turned models rename
_FEW_READ = 40  # items of assisted models
_NUMBERS = {"good": (0, GOOD), "sound": (10, SOUND)}  # of the kinds in random streams, and of their copies
_UPDATES, _MORE, _BATCH = 2500, 500, 64
_VERSION = 4
_KEY = 77_001


def turned(by: int) -> Tensor:
    """What a model turned by 0 to 5 makes of every class, int64 [C]: six classes move on in a cycle, the others stay."""
    renamed = torch.arange(len(CLASSES))
    cycle = random.uniform(torch.tensor(_KEY), len(CLASSES)).argsort()[:_CYCLE]
    renamed[cycle] = cycle.roll(-by)
    return renamed


@dataclass(frozen=True)
class Bank:
    """The models of a half, and what they say of the garments that students learn from.

    Attributes:
        kinds: of every model, [M].
        place: of every garment, its column n in the tables below, or -1; int64. Behind the garments, of every digit, its
            column in ``logits`` alone, where those of the part ``foreign`` follow the garments.
        logits: float32 [2, M, n + digits, C], the largest of an item 0: of the models as they are, and outspoken.
        hidden: what their two stages say, float16 [M, n, width] each.
        head: their last layer, matrix [M, width, C] and bias [M, C].
        directions: along which a model's last stage spreads most within each class and its last layer sees nothing of, scaled
            to a spread of 1: [M, C, width, 2]; and the means there, [M, C, 2].
        assisted: of those that read labels, of labelled items alone, by the share of wrong labels and by the label that is
            read: float32 [4, C, n of labelled items, C].
    """

    kinds: tuple[str, ...]
    place: Tensor
    logits: Tensor
    hidden: tuple[Tensor, Tensor]
    head: tuple[Tensor, Tensor]
    directions: tuple[Tensor, Tensor]
    assisted: Tensor = field(repr=False)

    def look_up(self, table: Tensor, model: Tensor, column: Tensor) -> Tensor:
        """Rows of a table [M, n, *]: models and columns, int64, broadcast -> [*shape of both, *]."""
        place = model * table.shape[1] + column
        return table.flatten(0, 1).index_select(0, place.flatten()).view(*place.shape, *table.shape[2:])

    def within(self, model: Tensor, feature: Tensor) -> Tensor:
        """Probabilities of the four pseudo-subclasses of each class, by the two ends of both directions (Loo et al., "Linear
        projections of teacher embeddings for few-class distillation", 2024): models [S], features [S, B, width] -> [S, B, C,
        4].
        """
        direction, mean = (part[model] for part in self.directions)
        along = torch.einsum("sbw,scwk->sbck", feature, direction) - mean.unsqueeze(1)
        return torch.softmax(torch.cat([along, -along], dim=3), dim=3)

    def of(self, kind: str) -> list[int]:
        """The models of a kind."""
        return [i for i, known in enumerate(self.kinds) if known == kind]


@dataclass(frozen=True)
class _Schooling:
    """What models side by side are trained on.

    Attributes:
        key: of each model's random streams, int64 [M].
        items: garments in the order of each model, int64 [M, n].
        corpus: garments.
    """

    key: Tensor
    items: Tensor
    corpus: Corpus

    def draw(self, update: int, number: int = _BATCH) -> tuple[Tensor, Tensor]:
        """A batch for every model: images [M, B, 196] and labels [M, B]."""
        place = random.integers(random.fold(self.key, update), number, self.items.shape[1])
        item = self.items.gather(1, place)
        return self.corpus.images(item), self.corpus.label[item]


@lru_cache(maxsize=4)
def load_bank(half: Half, device: torch.device) -> Bank:
    """The models of a half; pretrained on first use, which takes ten seconds.

    Raises:
        ValueError: there is no such half.
    """
    if half not in HALVES:
        raise ValueError(f"There is no half {half!r} of the bank; choose from {', '.join(HALVES)}.")
    wanted = dict.fromkeys(("models", "outspoken"), (GOOD + SOUND, _learner().weights))
    wanted["assisted"] = len(ASSISTED), _learner(len(CLASSES)).weights

    def fits(found: dict[str, Tensor]) -> bool:
        return {name: tuple(t.shape) for name, t in found.items()} == wanted and all(
            t.dtype == torch.float32 and bool(t.isfinite().all()) for t in found.values()
        )

    recipe = {
        "half": half, "version": _VERSION, "torch": torch.__version__, "kinds": [GOOD, SOUND], "assisted": ASSISTED,
        "widths": WIDTHS, "outspoken": OUTSPOKEN, "updates": [_UPDATES, _MORE, _BATCH],
    }  # fmt: skip
    name = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_directory() / "bank" / f"garments-{half}-{name}.safetensors"
    weights = load_or_build(path, recipe, lambda: _school(half), "models of the bank", fits)
    return _tables({name: tensor.to(device) for name, tensor in weights.items()}, garments_and_digits().to(device))


def _learner(read: int = 0) -> Learner:
    return Learner(perceptron(len(CLASSES), WIDTHS, PIXELS + read), config=LearnerConfig())


def _school(half: Half) -> dict[str, Tensor]:
    """Weights of all models of a half, [M, weights] by group; on the CPU, as the cache is the same for all devices."""
    models, outspoken = _school_together(_lessons(half))
    return {"models": models, "outspoken": outspoken, "assisted": _school_assisted(half)}


def _school_together(schooling: _Schooling) -> tuple[Tensor, Tensor]:
    """Weights of models as they are and outspoken, [M, weights] each."""
    learner = _learner()
    state = learner.initialise(schooling.key)
    for update in range(_UPDATES):
        images, labels = schooling.draw(update)
        learner.update(state, _cross_entropy(learner, images, labels))
    plain = state[:, : learner.weights].clone()
    for update in range(_UPDATES, _UPDATES + _MORE):
        if update % 50 == 0:
            centroid = _centroids(learner, state, schooling)
        images, labels = schooling.draw(update)
        learner.update(state, _outspoken(learner, images, labels, centroid))
    return plain, state[:, : learner.weights].clone()


def _lessons(half: Half) -> _Schooling:
    """What the good models learn, and after them the sound ones."""
    corpus = garments()
    mine, place = _half(corpus, half), torch.tensor(HALVES.index(half))
    numbers = [(number, copy) for number, copies in _NUMBERS.values() for copy in range(copies)]
    stream = torch.stack([random.fold(torch.tensor(_KEY), place, *number) for number in numbers])
    order = random.uniform(random.fold(stream, 1), len(mine)).argsort(dim=1)
    return _Schooling(random.fold(stream, 0), mine[order], corpus)


def _half(corpus: Corpus, half: Half) -> Tensor:
    """The items of the bank's part that a half's models may see."""
    return corpus.parts["bank"][HALVES.index(half) :: len(HALVES)]


def _cross_entropy(learner: Learner, images: Tensor, labels: Tensor) -> Callable[[Weights], Tensor]:
    def loss(w: Weights) -> Tensor:
        logits = learner.architecture.forward(w, images).logits
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)

    return loss


def _outspoken(learner: Learner, images: Tensor, labels: Tensor, centroid: Tensor) -> Callable[[Weights], Tensor]:
    ordinary = _cross_entropy(learner, images, labels)
    mean = centroid.gather(1, labels.unsqueeze(2).expand(-1, -1, centroid.shape[2]))

    def loss(w: Weights) -> Tensor:
        said = torch.log_softmax(learner.architecture.forward(w, images).logits, dim=2)
        apart = (said.exp() * (said - mean.log())).sum(2).mean(1)
        return ordinary(w) - OUTSPOKEN * apart

    return loss


def _centroids(learner: Learner, state: Tensor, schooling: _Schooling) -> Tensor:
    """Mean probabilities of the items of each class, [M, C, C], from 1,024 draws a model."""
    images, labels = schooling.draw(-1, 1024)
    said = torch.softmax(learner.say(state, images).logits, dim=2)
    member = F.one_hot(labels, len(CLASSES)).to(said.dtype)
    total = member.mT @ said + 1e-3
    return total / total.sum(2, keepdim=True)


def _school_assisted(half: Half) -> Tensor:
    corpus, learner = garments(), _learner(len(CLASSES))
    key = random.fold(torch.tensor(_KEY + 50 + HALVES.index(half)), torch.arange(len(ASSISTED)))
    mine = _half(corpus, half)[:_FEW_READ]
    state, wrong = learner.initialise(key), torch.tensor(ASSISTED).unsqueeze(1)
    for update in range(_UPDATES):
        stream = random.fold(key, update)
        item = mine[random.integers(stream, _BATCH, len(mine))]
        label = corpus.label[item]
        other = (label + 1 + random.integers(random.fold(stream, 1), _BATCH, len(CLASSES) - 1)) % len(CLASSES)
        read = torch.where(random.uniform(random.fold(stream, 2), _BATCH) < wrong, other, label)
        images = torch.cat([corpus.images(item), F.one_hot(read, len(CLASSES)).float()], dim=2)
        learner.update(state, _cross_entropy(learner, images, label))
    return state[:, : learner.weights].clone()


def _tables(weights: dict[str, Tensor], corpus: Corpus) -> Bank:
    learner = _learner()
    labelled = corpus.parts["labelled"]
    seen = torch.cat([labelled, corpus.parts["pool"]])
    every = torch.cat([seen, corpus.parts["foreign"]])
    place = torch.full((len(corpus.label),), -1, device=every.device)
    place[every] = torch.arange(len(every), device=every.device)

    def ask(name: str, item: Tensor) -> Output:
        return learner.say(weights[name], corpus.images(item).expand(len(weights[name]), -1, -1))

    def logits(name: str) -> Tensor:
        return torch.cat([ask(name, seen).logits, ask(name, corpus.parts["foreign"]).logits], dim=1)

    # A turned model says of a class what the sound one says of the class that moved there.
    moved = [turned(by).argsort().to(every.device) for by in range(TURNS)]

    def with_turned(models: Tensor, classes: int | None) -> Tensor:
        """Behind them the sound ones turned along the dimension of the classes, if there is one."""
        sound = models[GOOD:]
        turns = [sound if classes is None else sound.index_select(classes, order) for order in moved]
        return torch.cat([models[:GOOD], *turns])

    def parts(name: str) -> list[Tensor]:
        output, named = ask(name, seen), learned(name)
        return [*(stage.half() for stage in output.hidden), *named, *_directions(output, named[0])]

    def learned(name: str) -> list[Tensor]:
        return [learner.named(weights[name])[f"{part}_{len(WIDTHS)}"].clone() for part in ("matrix", "bias")]

    said = torch.stack([with_turned(logits(name), 2) for name in ("models", "outspoken")])
    dimensions = (None, None, 2, 1, 1, 1)
    table = [with_turned(*part) for part in zip(parts("models"), dimensions, strict=True)]
    return Bank(
        kinds=("good",) * GOOD + tuple(kind for kind in ALIKE for _ in range(SOUND)),
        place=place,
        logits=said - said.amax(3, keepdim=True),
        hidden=(table[0], table[1]),
        head=(table[2], table[3]),
        directions=(table[4], table[5]),
        assisted=_assisted_table(weights["assisted"], corpus.images(labelled)),
    )


def _directions(said: Output, head: Tensor) -> tuple[Tensor, Tensor]:
    """See `Bank.directions`; an item is of the class that the model says."""
    feature = said.hidden[-1]
    seen, _ = torch.linalg.qr(head)
    blind = feature - feature @ seen @ seen.mT
    member = F.one_hot(said.logits.argmax(2), len(CLASSES)).to(feature.dtype)
    number = member.sum(1).clamp_min(1)[:, :, None, None]
    mean = torch.einsum("mnc,mnw->mcw", member, blind) / number[:, :, 0]
    spread = torch.stack([(blind * m.unsqueeze(2)).mT @ blind for m in member.unbind(2)], dim=1) / number
    value, vector = torch.linalg.eigh(spread - mean.unsqueeze(3) * mean.unsqueeze(2))
    scaled = vector[..., -2:] / value[..., -2:].clamp_min(1e-4).sqrt().unsqueeze(2)
    direction = scaled - seen.unsqueeze(1) @ (seen.mT.unsqueeze(1) @ scaled)  # features need not be projected any more
    return direction, (mean.unsqueeze(2) @ scaled).squeeze(2)


def _assisted_table(weights: Tensor, images: Tensor) -> Tensor:
    learner = _learner(len(CLASSES))
    read = torch.eye(len(CLASSES), device=images.device)
    said = [
        learner.say(
            weights, torch.cat([images, label.expand(len(images), -1)], dim=1).expand(len(weights), -1, -1)
        ).logits
        for label in read
    ]
    return torch.stack(said, dim=1)
