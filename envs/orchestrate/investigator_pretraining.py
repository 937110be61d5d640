"""Pretraining of the investigators: ``python -m kdgym.envs.orchestrate.investigator_pretraining``.

It is deterministic and takes minutes on one core.

They learn by imitation, on training incidents that no pool of `kdgym.envs.orchestrate.investigator.IncidentWorld` holds. A
guide follows each question's solution, with a random move now and then. At every stop the networks learn which moves lead on:
once without guidance, and once with a note or a supervisor's advice, either of which may be wrong. Every network learns from
all stops with guidance. Without guidance it learns only from a random fifth of the kinds of questions; the others are its blind
spots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from kdgym.envs.orchestrate.investigation import (
    ANSWER,
    PATHS,
    QUERIES,
    VOCABULARY,
    WANTED,
    Investigation,
    Moves,
    RelationPath,
)
from kdgym.envs.orchestrate.investigator import EDITION, FILE, INVESTIGATORS, Policy
from kdgym.storage import save_tensors
from kdgym.tasks.incidents import questions_of

INCIDENTS = 120
BATCH, STEPS = 96, 1500
WIDTH = 48
OTHERS = 24  # wrong moves that a stop is learned from, at most
STRAY = 0.25  # share of the guide's moves that are random
ADVICE_RIGHT, NOTE_RIGHT = 0.85, 0.6  # probabilities
ALONE = 0.2  # share of the kinds of questions that a network learns without guidance
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-2


def stops(incidents: Iterable[int], rng: np.random.Generator) -> Iterator[tuple[Moves, NDArray[np.bool_], int, bool]]:
    """The moves at each stop, which of them are right, what is asked for, and whether some guidance is right."""
    for index in incidents:
        for question in questions_of("train", index):
            tour = Investigation("train", index, question)
            advice, note = (_guidance(tour.solution, right, rng) for right in (ADVICE_RIGHT, NOTE_RIGHT))
            told = rng.integers(1, 4)
            for _ in range(QUERIES + 1):
                right = tour.right_moves()
                for guided in (False, True):
                    moves = tour.moves(note if guided and told & 1 else None, advice if guided and told & 2 else None)
                    pairs = list(zip(moves.relation.tolist(), moves.entity.tolist(), strict=True))
                    good = np.array([pair in right for pair in pairs])
                    helped = guided and bool(
                        (told & 1 and note == tour.solution) or (told & 2 and advice == tour.solution)
                    )
                    if good.any():
                        yield moves, good, WANTED.index(question.wanted), helped
                queries = [pair for pair in pairs if pair[0] != ANSWER]
                astray = rng.random() < STRAY
                if not queries or not (right or astray) or any(move == ANSWER for move, _ in right):
                    break
                options = queries if astray else sorted(right)
                tour.ask(*options[rng.integers(len(options))])


def _guidance(solution: RelationPath, right: float, rng: np.random.Generator) -> RelationPath:
    """The solution, or with probability 1 - ``right`` any path."""
    if rng.random() < right:
        return solution
    return PATHS[rng.integers(len(PATHS))]


def examples(incidents: Iterable[int], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All stops: features [L, C, K], log-weights [L, C], right moves [L, C], wanted [L], guided [L]."""
    rows = []
    for moves, good, wanted, guided in stops(incidents, rng):
        right, wrong = np.flatnonzero(good), np.flatnonzero(~good)
        chosen = np.concatenate([right[:2], rng.permutation(wrong)[:OTHERS]])
        spare = OTHERS + 2 - len(chosen)
        weight = np.log(max(len(wrong), 1) / max(min(len(wrong), OTHERS), 1))  # each stands for so many wrong ones
        weights = np.where(good[chosen], 0.0, weight)
        rows.append(
            (
                np.pad(moves.features[chosen].astype(np.int16), ((0, spare), (0, 0))),
                np.pad(weights.astype(np.float32), (0, spare), constant_values=-np.inf),
                np.pad(good[chosen], (0, spare)),
                wanted,
                guided,
            )
        )
    columns = [torch.from_numpy(np.array(column)) for column in zip(*rows, strict=True)]
    return columns[0], columns[1], columns[2], columns[3], columns[4]


def pretrain(incidents: int = INCIDENTS, steps: int = STEPS, seed: int = 0) -> dict[str, Tensor]:
    """Weights of `Policy`."""
    rng = np.random.default_rng(seed)
    features, weights, good, wanted, guided = examples(range(incidents), rng)
    count = round(ALONE * len(WANTED))
    known = torch.zeros(INVESTIGATORS, len(WANTED), dtype=torch.bool)
    for student in range(INVESTIGATORS):
        known[student, rng.permutation(len(WANTED))[:count]] = True
    policy = Policy.draw(WIDTH, rng)
    parameters = [tensor.requires_grad_() for tensor in policy.weights.values()]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        batch = torch.from_numpy(rng.integers(0, len(features), BATCH))
        scores = policy.all_scores(features[batch].long()) + weights[batch]
        total = scores.logsumexp(-1)
        right = scores.masked_fill(~good[batch], -torch.inf).logsumexp(-1)
        taught = guided[batch] | known[:, wanted[batch]]
        loss = ((total - right) * taught).sum(-1) / taught.sum(-1).clamp(min=1)
        optimizer.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(parameters, INVESTIGATORS**0.5)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            typer.echo(f"step {step + 1}: loss {loss.mean().item():.3f}")
    return {name: tensor.detach().half() for name, tensor in policy.weights.items()} | {"known": known}


def main(incidents: int = INCIDENTS, steps: int = STEPS, out: Path = FILE) -> None:
    """Make the investigators and write their file."""
    save_tensors(out, pretrain(incidents, steps), {"edition": EDITION, "vocabulary": VOCABULARY})


if __name__ == "__main__":
    typer.run(main)
