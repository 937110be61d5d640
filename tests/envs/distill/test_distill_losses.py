"""Each loss term, and its gradient, against one student in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym.envs.distill.losses import TERMS, WITH_HEADS, Batch, heads, recipe_loss
from kdgym.students.recipes.bank import Bank
from kdgym.students.recipes.networks import perceptron

STUDENTS, TEACHERS, ITEMS, LABELLED, CLASSES, WIDTHS = 3, 4, 6, 4, 10, (5, 7)
MODELS, GARMENTS, SIZES = 5, 20, (8, 9)
DOUBLE = torch.float64
RNG = torch.Generator()
Weights = dict[str, Tensor]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=RNG)


@pytest.fixture(scope="module")
def bank() -> Bank:
    RNG.manual_seed(0)
    return Bank(
        kinds=("good",) * MODELS,
        place=torch.randperm(GARMENTS, generator=RNG),
        logits=-draw(2, MODELS, GARMENTS, CLASSES).abs(),
        hidden=(draw(MODELS, GARMENTS, SIZES[0]), draw(MODELS, GARMENTS, SIZES[1])),
        head=(draw(MODELS, SIZES[1], CLASSES), draw(MODELS, CLASSES)),
        directions=(draw(MODELS, CLASSES, SIZES[1], 2), draw(MODELS, CLASSES, 2)),
        assisted=draw(4, CLASSES, GARMENTS, CLASSES),
    )


class One:
    """One student: its batch and recipe, as plain tensors."""

    def __init__(
        self, bank: Bank, model: Tensor, item: Tensor, label: Tensor, recipe: dict[str, Tensor], renamed: Tensor
    ) -> None:
        self.recipe, self.label, self.column = recipe, label, bank.place[item]
        self.renamed = renamed
        self.top, self.bank = model[recipe["teacher"].argmax()], bank
        share = float(recipe["unlabelled"])
        weight = torch.tensor([1 - share] * LABELLED + [share] * (ITEMS - LABELLED), dtype=DOUBLE)
        self.weight = weight / weight.mean()
        logits = torch.lerp(bank.logits[0], bank.logits[1], recipe["outspoken"])[model][:, self.column]
        trust, t = recipe["teacher"], recipe["temperature"]
        self.warm = sum(w * torch.softmax(one / t, dim=1) for w, one in zip(trust, logits, strict=True))
        self.plain = sum(w * torch.softmax(one, dim=1) for w, one in zip(trust, logits, strict=True))
        self.feature, self.embedding = bank.hidden[1][self.top, self.column], bank.hidden[0][self.top, self.column]

    def mean(self, per_item: Tensor) -> Tensor:
        return (self.weight * per_item).mean()

    def lean(self, said: Tensor) -> Tensor:
        apart = torch.distributions.Categorical(self.warm).entropy() - torch.distributions.Categorical(said).entropy()
        return torch.tanh(4 * self.recipe["by_entropy"] * apart / math.log(CLASSES))

    def boosted(self, logits: Tensor) -> Tensor:
        target = torch.zeros_like(self.plain)
        target[range(LABELLED), self.label] = 1
        soft = (self.plain + target) ** self.recipe["boost"] - target
        return self.mean(-(soft * F.log_softmax(logits, dim=1)).sum(1))


def linear(w: Weights, x: Tensor, name: str) -> Tensor:
    return F.linear(x, w[f"matrix_{name}"].T, w[f"bias_{name}"])


def network(w: Weights, images: Tensor) -> tuple[list[Tensor], Tensor]:
    first = linear(w, images, "0").relu()
    last = linear(w, first, "1").relu()
    return [first, last], linear(w, last, "2")


def divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum(1)


def distance(one: One, student: Tensor, teacher: Tensor) -> Tensor:
    return one.mean(((student - teacher) ** 2).mean(1) / (teacher**2).mean())


def forward(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    t = one.recipe["temperature"]
    said = torch.softmax(logits / t, dim=1)
    return t**2 * one.mean((1 + one.lean(said.detach())) * divergence(one.warm, said))


def reverse(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    t = one.recipe["temperature"]
    said = torch.softmax(logits / t, dim=1)
    return t**2 * one.mean((1 - one.lean(said.detach())) * divergence(said, one.warm))


def feature(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    student, share = linear(w, hidden[1], "feature"), one.recipe["high_pass"]
    centred = [x - x.mean(0) for x in (student, one.feature)]
    return (1 - share) * distance(one, student, one.feature) + share * distance(one, *centred)


def relation(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    cosines = [F.cosine_similarity(x[:, None], x[None], dim=2) for x in (hidden[1], one.feature)]
    return F.mse_loss(*cosines)


def through_teacher(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    said = linear(w, hidden[1], "feature") @ one.bank.head[0][one.top] + one.bank.head[1][one.top]
    return one.mean(-(one.plain * F.log_softmax(said, dim=1)).sum(1))


def subclasses(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    direction, mean = (part[one.top] for part in one.bank.directions)
    likely = torch.softmax(one.bank.logits[0][one.top, one.column], dim=1)
    target = []
    for c in range(CLASSES):
        along = one.feature @ direction[c] - mean[c]
        target.append(likely[:, c : c + 1] * torch.softmax(torch.cat([along, -along], dim=1), dim=1))
    return one.mean(F.cross_entropy(linear(w, hidden[1], "subclass"), torch.cat(target, dim=1), reduction="none"))


def assisted(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    # Between the models of noise 0.5 and 0.7, and nearer to the first.
    # A label is read as the class that is renamed to it, and what is said is renamed.
    read = torch.tensor([one.renamed.tolist().index(given) for given in one.label])
    teacher = [torch.softmax(one.bank.assisted[i, read, one.column[:LABELLED]], dim=1) for i in (1, 2)]
    mixed = torch.zeros(LABELLED, CLASSES, dtype=DOUBLE)
    mixed[:, one.renamed] = 0.75 * teacher[0] + 0.25 * teacher[1]
    return divergence(mixed, torch.softmax(logits[:LABELLED], dim=1)).mean()


def adversarial(one: One, w: Weights, hidden: list[Tensor], logits: Tensor) -> Tensor:
    student = linear(w, hidden[1], "feature")
    frozen = {name: weight.detach() for name, weight in w.items()}
    yes, no = torch.ones(ITEMS, 1, dtype=DOUBLE), torch.zeros(ITEMS, 1, dtype=DOUBLE)
    judge = F.binary_cross_entropy_with_logits
    critic = judge(linear(w, student.detach(), "critic"), no) + judge(linear(w, one.feature, "critic"), yes)
    return critic + judge(linear(frozen, student, "critic"), yes)


REFERENCE: dict[str, Callable[[One, Weights, list[Tensor], Tensor], Tensor]] = {
    "forward": forward,
    "reverse": reverse,
    "boosted": lambda one, w, hidden, logits: one.boosted(logits),
    "exit_1": lambda one, w, hidden, logits: one.boosted(linear(w, hidden[0], "exit_1")),
    "exit_2": lambda one, w, hidden, logits: one.boosted(linear(w, hidden[1], "exit_2")),
    "embedding": lambda one, w, hidden, logits: distance(one, linear(w, hidden[0], "embedding"), one.embedding),
    "feature": feature,
    "relation": relation,
    "through_teacher": through_teacher,
    "subclasses": subclasses,
    "assisted": assisted,
    "adversarial": adversarial,
}


def recipe(**values: float) -> dict[str, Tensor]:
    """Of all students: no term, other dials away from their ends; what is given scaled by 1, 2, 3 from student to student."""
    plain = {
        **dict.fromkeys(("ce", *TERMS), 0.0),
        "temperature": 1.7,
        "by_entropy": 0.8,
        "boost": 1.4,
        "high_pass": 0.3,
    }
    plain |= {"assisted_noise": 0.55, "outspoken": 0.4, "unlabelled": 0.7}
    found = {name: torch.full((STUDENTS,), value, dtype=DOUBLE) for name, value in plain.items()}
    found |= {name: value * torch.arange(1, STUDENTS + 1, dtype=DOUBLE) for name, value in values.items()}
    return {**found, "teacher": torch.softmax(draw(STUDENTS, TEACHERS), dim=1)}


@pytest.mark.parametrize("names", [("ce",), *((term,) for term in TERMS), ("ce", *TERMS)], ids="+".join)
def test_terms_and_gradients_are_those_of_one_student(bank: Bank, names: tuple[str, ...]) -> None:
    assert set(REFERENCE) == set(TERMS)
    RNG.manual_seed(1)
    architecture = perceptron(CLASSES, WIDTHS)
    shapes = {**architecture.shapes, **heads(architecture.stages, *SIZES, CLASSES)}
    weights = {name: draw(STUDENTS, *shape).mul_(0.3).requires_grad_() for name, shape in shapes.items()}
    images, item = (
        draw(STUDENTS, ITEMS, 196),
        torch.stack([torch.randperm(GARMENTS, generator=RNG)[:ITEMS] for _ in range(STUDENTS)]),
    )
    model = torch.stack([torch.randperm(MODELS, generator=RNG)[:TEACHERS] for _ in range(STUDENTS)])
    label, chosen = torch.randint(CLASSES, (STUDENTS, LABELLED), generator=RNG), recipe(**dict.fromkeys(names, 0.5))

    renamed = torch.stack([torch.randperm(CLASSES, generator=RNG) for _ in range(STUDENTS)])
    batch = Batch(bank, model, item, images, label, chosen, renamed)
    losses = recipe_loss(architecture, batch, frozenset(names) - {"ce"})(weights)
    found = torch.autograd.grad(losses.sum(), list(weights.values()), materialize_grads=True, allow_unused=True)
    for s in range(STUDENTS):
        mine = {name: weight[s].detach().requires_grad_() for name, weight in weights.items()}
        mine_alone = {name: value[s] for name, value in chosen.items()}
        one = One(bank, model[s], item[s], label[s], mine_alone, renamed[s])
        hidden, logits = network(mine, images[s])
        loss = one.recipe["ce"] * F.cross_entropy(logits[:LABELLED], label[s])
        loss = loss + sum(
            one.recipe[name] * REFERENCE[name](one, mine, hidden, logits) for name in names if name != "ce"
        )
        wanted = torch.autograd.grad(loss, list(mine.values()), materialize_grads=True, allow_unused=True)
        # Probabilities get 1e-6 before their logarithm.
        torch.testing.assert_close(losses[s], loss, rtol=1e-3, atol=1e-5)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours[s], theirs, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("term", TERMS)
def test_terms_with_heads_are_those_that_use_more_than_the_network(bank: Bank, term: str) -> None:
    RNG.manual_seed(2)
    architecture = perceptron(CLASSES, WIDTHS)
    shapes = {**architecture.shapes, **heads(architecture.stages, *SIZES, CLASSES)}
    weights = {name: draw(STUDENTS, *shape).requires_grad_() for name, shape in shapes.items()}
    item = torch.arange(ITEMS).expand(STUDENTS, -1)
    batch = Batch(
        bank, torch.arange(TEACHERS).expand(STUDENTS, -1), item, draw(STUDENTS, ITEMS, 196),
        torch.zeros(STUDENTS, LABELLED, dtype=torch.int64), recipe(**{term: 1.0}),
        torch.arange(CLASSES).expand(STUDENTS, -1),
    )  # fmt: skip
    loss = recipe_loss(architecture, batch, frozenset({term}))(weights).sum()
    own = {name: weight for name, weight in weights.items() if name not in architecture.shapes}
    moved = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    assert any(g is not None for g in moved) == (term in WITH_HEADS)
