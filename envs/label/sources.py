"""Weak sources of labels: models of the bank in companies, most of whom may share a fault."""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.recipes.bank import FAULTS, KINDS, Bank

# Kinds of the five sources. The wrong given labels of an episode have a fault; of one company most have that fault, of one
# most have another, and of one most are sound.
COMPANIES = (
    ("good", "labels'", "labels'", "labels'", "partial"),
    ("good", "another", "another", "another", "labels'"),
    ("good", "good", "overfitted", "labels'", "partial"),
)
SOURCES = 5
_FIRST = ("good", "overfitted", "partial", "labels'", "another")


def draw_company(bank: Bank, key: Tensor, fault: Tensor) -> tuple[Tensor, Tensor]:
    """Sources in any order: models int64 [R, 5], and which company they are [R]; ``fault`` [R] is that of the labels."""
    company = random.integers(random.fold(key, 0), 1, len(COMPANIES)).squeeze(1)
    another = (fault + 1 + random.integers(random.fold(key, 1), 1, FAULTS - 1).squeeze(1)) % FAULTS
    faulty = torch.tensor([bank.of(f"faulty_{i}")[0] for i in range(FAULTS)], device=key.device)
    plain = torch.tensor([bank.of(kind)[0] for kind in _FIRST[:3]], device=key.device).expand(len(key), -1)
    first = torch.cat([plain, faulty[fault].unsqueeze(1), faulty[another].unsqueeze(1)], dim=1)
    copies = torch.tensor([*(KINDS[kind] for kind in _FIRST[:3]), *[KINDS["faulty_0"]] * 2], device=key.device)
    kind = torch.tensor([[_FIRST.index(k) for k in kinds] for kinds in COMPANIES], device=key.device)[company]
    nth = torch.tensor([[kinds[:i].count(k) for i, k in enumerate(kinds)] for kinds in COMPANIES], device=key.device)
    moved = random.integers(random.fold(key, 2), len(_FIRST), copies)
    model = first.gather(1, kind) + (nth[company] + moved.gather(1, kind)) % copies[kind]
    order = random.uniform(random.fold(key, 3), SOURCES).argsort(dim=1)
    return model.gather(1, order), company


def draw_beginnings(key: Tensor, steps: int, companies: int) -> Tensor:
    """Steps at which companies come, int64 [R, companies]: the first at 0, others evenly, or a step earlier or later."""
    about = torch.tensor([round(turn * steps / companies) for turn in range(companies)], device=key.device)
    begins = about + random.integers(key, companies, 3) - 1
    begins[:, 0] = 0
    return torch.maximum(begins, torch.arange(companies, device=key.device))
