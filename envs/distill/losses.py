"""The loss terms of Distill's recipes: what one update of a student goes down, by the values of the dials."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym.students.recipes.bank import ASSISTED, Bank
from kdgym.students.recipes.engine import Weights
from kdgym.students.recipes.networks import Architecture, Output, Shapes, affine, log_softmax, softmax

SUBCLASSES = 4  # of each class
_SHARPNESS = 4.0  # how fast the balance of directions turns with the difference of entropies, which is at most 1
_LEAST = 1e-6  # what is added to probabilities before their logarithm


class Batch:
    """What an update of S students is made of: B items, the first L of which have labels, and what M teachers say of them.

    Only what a recipe asks for is looked up.

    Args:
        bank: whose models the teachers are.
        model: them, int64 [S, M].
        item: garments, int64 [S, B].
        images: of these, [S, B, 196].
        label: given ones, perhaps wrong, int64 [S, L].
        recipe: values of the dials, float32 [S], of shares [S, M].
        renamed: what the model that reads labels makes of every class, a permutation, int64 [S, C].
    """

    def __init__(
        self,
        bank: Bank,
        model: Tensor,
        item: Tensor,
        images: Tensor,
        label: Tensor,
        recipe: dict[str, Tensor],
        renamed: Tensor,
    ) -> None:
        self.images, self.label, self.recipe = images, label, recipe
        self._bank, self._model, self._column = bank, model, bank.place[item]
        self._renamed = renamed
        share, labelled = recipe["unlabelled"].unsqueeze(1), label.shape[1]
        weight = torch.cat([(1 - share).expand(-1, labelled), share.expand(-1, item.shape[1] - labelled)], dim=1)
        self.weight = weight / weight.mean(1, keepdim=True).clamp_min(_LEAST)

    @cached_property
    def _logits(self) -> Tensor:
        """Of all teachers, [S, M, B, C]."""
        place, outspoken = (self._model.unsqueeze(2), self._column.unsqueeze(1)), self.recipe["outspoken"]
        plain = self._bank.look_up(self._bank.logits[0], *place)
        if not outspoken.any():
            return plain
        return torch.lerp(plain, self._bank.look_up(self._bank.logits[1], *place), outspoken[:, None, None, None])

    def _mixed(self, logits: Tensor) -> Tensor:
        said = logits.exp()  # none is above 0, and one of each item is 0
        trust = self.recipe["teacher"][:, :, None] / said.sum(3)
        return said.mul_(trust.unsqueeze(3)).sum(1)

    @cached_property
    def warm(self) -> Tensor:
        """The teachers' probabilities at the recipe's temperature, mixed by trust: [S, B, C]."""
        return self._mixed(self._logits / self.recipe["temperature"][:, None, None, None])

    @cached_property
    def plain(self) -> Tensor:
        """The same at temperature 1."""
        return self._mixed(self._logits)

    @cached_property
    def _top(self) -> Tensor:
        """The most trusted teacher, [S, 1]."""
        return self._model.gather(1, self.recipe["teacher"].argmax(1, keepdim=True))

    @cached_property
    def embedding(self) -> Tensor:
        """What the first stage of the most trusted teacher says, [S, B, width]."""
        return self._bank.look_up(self._bank.hidden[0], self._top, self._column).to(self.images.dtype)

    @cached_property
    def feature(self) -> Tensor:
        """The same of its last stage."""
        return self._bank.look_up(self._bank.hidden[1], self._top, self._column).to(self.images.dtype)

    @cached_property
    def head(self) -> tuple[Tensor, Tensor]:
        """That teacher's last layer, [S, width, C] and [S, C]."""
        matrix, bias = self._bank.head
        return matrix[self._top.squeeze(1)], bias[self._top.squeeze(1)]

    @cached_property
    def subclass(self) -> Tensor:
        """Its probabilities of the subclasses, [S, B, C * `SUBCLASSES`]."""
        likely = softmax(self._bank.look_up(self._bank.logits[0], self._top, self._column))
        return (likely.unsqueeze(3) * self._bank.within(self._top.squeeze(1), self.feature)).flatten(2)

    @cached_property
    def assisted(self) -> Tensor:
        """Probabilities of the two models that read labels whose noise is nearest to the recipe's, mixed: [S, L, C]."""
        noise, known = self.recipe["assisted_noise"], torch.tensor(ASSISTED, device=self.label.device)
        near = (1 - (noise.unsqueeze(1) - known).abs() / (known[1] - known[0])).clamp_min(0)
        was = self._renamed.argsort(dim=1)
        said = softmax(self._bank.assisted[:, was.gather(1, self.label), self._column[:, : self.label.shape[1]]])
        said = said.gather(3, was[None, :, None].expand_as(said))
        return (near.T[:, :, None, None] * said).sum(0) / near.sum(1)[:, None, None]


def heads(stages: tuple[int, ...], embedding: int, feature: int, classes: int) -> Shapes:
    """Weights that students have beside their network: projections onto a teacher's stages, exits, subclasses, a critic."""
    first, last = stages[0], stages[-1]
    return {
        "matrix_embedding": (first, embedding), "bias_embedding": (embedding,),
        "matrix_feature": (last, feature), "bias_feature": (feature,),
        "matrix_exit_1": (first, classes), "bias_exit_1": (classes,),
        "matrix_exit_2": (last, classes), "bias_exit_2": (classes,),
        "matrix_subclass": (last, classes * SUBCLASSES), "bias_subclass": (classes * SUBCLASSES,),
        "matrix_critic": (feature, 1), "bias_critic": (1,),
    }  # fmt: skip


def recipe_loss(architecture: Architecture, batch: Batch, active: frozenset[str]) -> Callable[[Weights], Tensor]:
    """Loss of an update, weights by name -> [S].

    Args:
        architecture: of the students.
        batch: its items.
        active: the terms that some student's recipe has; the others are not computed.
    """

    def loss(w: Weights) -> Tensor:
        said = architecture.forward(w, batch.images)
        total = batch.recipe["ce"] * _given(said, batch)
        for name, term in _TERMS.items():
            if name in active:
                total = total + batch.recipe[name] * term(w, said, batch)
        return total

    return loss


def entropy(probability: Tensor) -> Tensor:
    """In nats, over the last axis."""
    return -(probability * (probability + _LEAST).log()).sum(-1)


def _given(said: Output, batch: Batch) -> Tensor:
    labelled = log_softmax(said.logits[:, : batch.label.shape[1]])
    return -labelled.gather(2, batch.label.unsqueeze(2)).squeeze(2).mean(1)


def _mean(batch: Batch, per_item: Tensor) -> Tensor:
    return (batch.weight * per_item).mean(1)


def _student(said: Output, batch: Batch) -> Tensor:
    """Log-probabilities at the recipe's temperature, [S, B, C]."""
    return log_softmax(said.logits / batch.recipe["temperature"][:, None, None])


def _lean(batch: Batch, student: Tensor) -> Tensor:
    """How far an item leans to the forward direction, -1 to 1 [S, B]: by whether the teacher or the student is less sure."""
    if not batch.recipe["by_entropy"].any():
        return torch.zeros_like(batch.weight)
    unsure = (entropy(batch.warm) - entropy(student.detach().exp())) / math.log(student.shape[2])
    return torch.tanh(_SHARPNESS * batch.recipe["by_entropy"].unsqueeze(1) * unsure)


def _forward(w: Weights, said: Output, batch: Batch) -> Tensor:
    """KL(teachers || student) at a temperature, times its square (Hinton et al., 2015)."""
    teacher, student = batch.warm, _student(said, batch)
    apart = (teacher * ((teacher + _LEAST).log() - student)).sum(2)
    return batch.recipe["temperature"] ** 2 * _mean(batch, (1 + _lean(batch, student)) * apart)


def _reverse(w: Weights, said: Output, batch: Batch) -> Tensor:
    """KL(student || teachers)."""
    teacher, student = batch.warm, _student(said, batch)
    apart = (student.exp() * (student - (teacher + _LEAST).log())).sum(2)
    return batch.recipe["temperature"] ** 2 * _mean(batch, (1 - _lean(batch, student)) * apart)


def _boosted(logits: Tensor, batch: Batch) -> Tensor:
    """OFA-KD's loss (Hao et al., NeurIPS 2023): the given class counts more by the power ``boost``."""
    teacher, student = batch.plain, log_softmax(logits)
    target = F.one_hot(batch.label, teacher.shape[2]).to(teacher.dtype)
    target = F.pad(target, (0, 0, 0, teacher.shape[1] - target.shape[1]))  # of items without a label nothing is boosted
    power = (teacher + target + _LEAST) ** batch.recipe["boost"][:, None, None]
    return _mean(batch, -((power - target) * student).sum(2))


def _ofa(w: Weights, said: Output, batch: Batch) -> Tensor:
    return _boosted(said.logits, batch)


def _exit_1(w: Weights, said: Output, batch: Batch) -> Tensor:
    """The same of a branch behind the first stage."""
    return _boosted(affine(w, said.hidden[0], "exit_1"), batch)


def _exit_2(w: Weights, said: Output, batch: Batch) -> Tensor:
    """The same of a branch behind the last stage."""
    return _boosted(affine(w, said.hidden[-1], "exit_2"), batch)


def _embedding(w: Weights, said: Output, batch: Batch) -> Tensor:
    """Squared distance of the projected first stage to the teacher's, as a share of the teacher's square."""
    return _distance(batch, affine(w, said.hidden[0], "embedding"), batch.embedding)


def _feature(w: Weights, said: Output, batch: Batch) -> Tensor:
    """The same of the last stage; ``high_pass`` of it without the mean of the items, which is what all have in common."""
    student, teacher = affine(w, said.hidden[-1], "feature"), batch.feature
    whole = _distance(batch, student, teacher)
    apart = _distance(batch, student - student.mean(1, keepdim=True), teacher - teacher.mean(1, keepdim=True))
    return (1 - batch.recipe["high_pass"]) * whole + batch.recipe["high_pass"] * apart


def _distance(batch: Batch, student: Tensor, teacher: Tensor) -> Tensor:
    size = teacher.square().mean((1, 2), keepdim=True) + _LEAST
    return _mean(batch, ((student - teacher).square() / size).mean(2))


def _relation(w: Weights, said: Output, batch: Batch) -> Tensor:
    """Squared difference of the cosines of all pairs of items, in the student's last stage and the teacher's."""
    student, teacher = (F.normalize(f, dim=2) for f in (said.hidden[-1], batch.feature))
    return (student @ student.mT - teacher @ teacher.mT).square().mean((1, 2))


def _through_teacher(w: Weights, said: Output, batch: Batch) -> Tensor:
    """Cross entropy of the student's projected last stage, read by the teacher's own last layer."""
    matrix, bias = batch.head
    student = log_softmax(torch.baddbmm(bias.unsqueeze(1), affine(w, said.hidden[-1], "feature"), matrix))
    return _mean(batch, -(batch.plain * student).sum(2))


def _subclasses(w: Weights, said: Output, batch: Batch) -> Tensor:
    """Cross entropy of a head of subclasses with the teacher's."""
    student = log_softmax(affine(w, said.hidden[-1], "subclass"))
    return _mean(batch, -(batch.subclass * student).sum(2))


def _assisted(w: Weights, said: Output, batch: Batch) -> Tensor:
    """KL(a teacher that reads the given labels || student), of the items that have labels."""
    student = log_softmax(said.logits[:, : batch.label.shape[1]])
    return (batch.assisted * ((batch.assisted + _LEAST).log() - student)).sum(2).mean(1)


def _adversarial(w: Weights, said: Output, batch: Batch) -> Tensor:
    """A critic learns to tell the student's projected last stage from the teacher's, and the student to be taken for it."""
    student = affine(w, said.hidden[-1], "feature")
    frozen = {name: w[name].detach() for name in ("matrix_critic", "bias_critic")}
    fooled = F.softplus(-affine(frozen, student, "critic")).mean((1, 2))
    told = F.softplus(affine(w, student.detach(), "critic")) + F.softplus(-affine(w, batch.feature, "critic"))
    return fooled + told.mean((1, 2))


_Term = Callable[[Weights, Output, Batch], Tensor]
_TERMS: dict[str, _Term] = {
    "forward": _forward,
    "reverse": _reverse,
    "boosted": _ofa,
    "exit_1": _exit_1,
    "exit_2": _exit_2,
    "embedding": _embedding,
    "feature": _feature,
    "relation": _relation,
    "through_teacher": _through_teacher,
    "subclasses": _subclasses,
    "assisted": _assisted,
    "adversarial": _adversarial,
}
TERMS = tuple(_TERMS)
WITH_HEADS = ("exit_1", "exit_2", "embedding", "feature", "through_teacher", "subclasses", "adversarial")
