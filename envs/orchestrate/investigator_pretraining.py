"""How the investigators are made: ``python -m kdgym.envs.orchestrate.investigator_pretraining``.

It is deterministic and takes minutes on one core.

They learn by imitation, on training incidents that no pool of `kdgym.envs.orchestrate.investigator.Incidents` holds. A guide
walks each question's solution, losing its way now and then; at every stop the nets learn which moves lead on. Each stop is
learned from twice, once without guidance and once with a note or a teacher's advice, either of which may be wrong. Every net
sees all stops with guidance, and without only those of its own random fifth of what questions want: elsewhere it never
learned to find its way alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from kdgym.envs.orchestrate.investigation import ANSWER, QUERIES, VOCABULARY, WANTED, WAYS, Investigation, Moves, Way
from kdgym.envs.orchestrate.investigator import EDITION, FILE, INVESTIGATORS, Policy
from kdgym.storage import save_tensors
from kdgym.tasks.incidents import questions_of

INCIDENTS = 120
BATCH, STEPS = 96, 1500
WIDTH = 48
OTHERS = 24  # wrong moves that a stop is learned from
STRAY = 0.25  # of the guide's moves
ADVICE_RIGHT, NOTE_RIGHT = 0.85, 0.6
ALONE = 0.2  # of what questions want, learned without guidance
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-2


def stops(incidents: Iterable[int], rng: np.random.Generator) -> Iterator[tuple[Moves, NDArray[np.bool_], int, bool]]:
    """What may be done at each stop, what is right, what is wanted, and whether some guidance says how to go on."""
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


def _guidance(solution: Way, right: float, rng: np.random.Generator) -> Way:
    """The solution, or with probability 1 - ``right`` another way that can be begun from the same kind of entity."""
    if rng.random() < right:
        return solution
    return WAYS[rng.integers(len(WAYS))]


def lessons(incidents: Iterable[int], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
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


def school(incidents: int = INCIDENTS, steps: int = STEPS, seed: int = 0) -> dict[str, Tensor]:
    """Weights of `Policy`."""
    rng = np.random.default_rng(seed)
    features, weights, good, wanted, guided = lessons(range(incidents), rng)
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
    save_tensors(out, school(incidents, steps), {"edition": EDITION, "vocabulary": VOCABULARY})


if __name__ == "__main__":
    typer.run(main)
