"""Scorers of a pool: good models that read some classes rightly or wrongly.

Some classes of an episode stand in a cycle. A *reading* calls each of them by the name of the class some places further on:
reading 0 is right, and the others are wrong. A model trained on labels renamed so says what a model trained on the
right ones says, with classes renamed. So a reading is applied to what good models of the bank say.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.recipes.bank import Bank

SCORERS, READINGS, MODELS = 6, 4, 2
RENAMED = 5  # classes of the cycle
FURTHER = (0, 0, 1, 2)  # there is one scorer of each reading, and two more of common ones: their places, each as likely


def draw_cycle(key: Tensor, classes: int) -> Tensor:
    """What the next reading calls each class, a cycle of five classes in any order: int64 [S, C]."""
    moved = random.uniform(key, classes).argsort(dim=1)[:, :RENAMED]
    same = torch.arange(classes, device=key.device).expand(len(key), -1)
    return same.scatter(1, moved, moved.roll(-1, dims=1))


def draw_order(key: Tensor, place: Tensor) -> Tensor:
    """Readings by how common they are, of which the right one has a given place [S]: int64 [S, 4]."""
    wrong = 1 + random.uniform(key, READINGS - 1).argsort(dim=1)
    at = (
        torch.arange(READINGS, device=key.device)
        - (torch.arange(READINGS, device=key.device) > place.unsqueeze(1)).long()
    )
    shifted = wrong.gather(1, at.clamp_max(READINGS - 2))
    return torch.where(torch.arange(READINGS, device=key.device) == place.unsqueeze(1), 0, shifted)


def draw_readings(key: Tensor, order: Tensor) -> Tensor:
    """Readings of the scorers, in any order: int64 [S, 6]."""
    known = torch.tensor(FURTHER, device=key.device)
    place = known[random.integers(random.fold(key, 0), SCORERS - READINGS, len(FURTHER))]
    reading = torch.cat([order, order.gather(1, place)], dim=1)
    return reading.gather(1, random.uniform(random.fold(key, 1), SCORERS).argsort(dim=1))


def names(cycle: Tensor) -> Tensor:
    """What every reading calls each class: cycles [S, C] -> int64 [S, R, C]."""
    calls = [torch.arange(cycle.shape[1], device=cycle.device).expand_as(cycle)]
    for _ in range(READINGS - 1):
        calls.append(cycle.gather(1, calls[-1]))
    return torch.stack(calls, dim=1)


def good_models(bank: Bank) -> Tensor:
    """What the good models say of every item in the bank's tables: probabilities [2, columns, C]."""
    return torch.softmax(bank.logits[0][bank.of("good")[:MODELS]], dim=2)


def mixed(said: Tensor, model: Tensor, calls: Tensor, share: Tensor) -> Tensor:
    """What scorers say together.

    Args:
        said: what the models say, [S, 2, n, C].
        model: of each scorer, int64 [S, M].
        calls: what each scorer calls each class, int64 [S, M, C].
        share: of each scorer, [S, M].

    Returns:
        Probabilities [S, n, C].
    """
    classes = said.shape[3]
    total = torch.zeros_like(said[:, 0])
    for i in range(said.shape[1]):
        weight = (share * (model == i)).unsqueeze(2).expand(-1, -1, classes)
        renamed = torch.zeros(len(said), classes, classes, dtype=said.dtype, device=said.device)
        place = (torch.arange(classes, device=said.device) * classes + calls).flatten(1)
        renamed.flatten(1).scatter_add_(1, place, weight.flatten(1))
        total += said[:, i] @ renamed
    return total


def beliefs(said: Tensor, model: Tensor, calls: Tensor, given: Tensor) -> Tensor:
    """The probability that each scorer gives to each item's given label [S, n]: [S, M, n]; for the others see `mixed`."""
    meant = calls.argsort(dim=2).gather(2, given.unsqueeze(1).expand(-1, calls.shape[1], -1))
    own = said.gather(1, model[:, :, None, None].expand(-1, -1, *said.shape[2:]))
    return own.gather(3, meant.unsqueeze(3)).squeeze(3)
