"""A student's memory: notes of a cue and an advice, with statistics of their use.

Notes follow ATLAS's playbook entries ("Continual Learning, Not Training", Arc Computer, 2025, released SDK): a note is shown
when its cue comes up, its uses and rewards are counted, and a rule prunes notes that do not help.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdgym.core.fields import Layout
from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, State
from kdgym.envs.orchestrate.memory_file import Note, Record
from kdgym.envs.orchestrate.supervision import Session

PLANS = ("own", "exact", "similar")  # which note a student starts from: none, its cue's, or the most similar cue's
OPERATIONS = ("keep", "write", "prune")  # what happens to the memory after a task
OBSERVED = 5  # numbers of a memory's observation
_EMPTY = -1
# ATLAS's pruning thresholds, see `prune`.
_TRIAL, _HIT_RATE = 10, 0.05
_HARM_HITS, _HARM = 5, -0.01
_IDLE_HITS, _IDLE = 10, 0.01
_MIN_SIMILARITY = 0.5  # of a note that is shown


def layout(slots: int) -> Layout:
    """State fields of a memory of so many notes."""
    i64, f64 = torch.int64, torch.float64
    fields: Layout = {
        "note_cue": ((slots,), i64),
        "note_advice": ((slots,), i64),
        "note_born": ((slots,), i64),
        "note_hits": ((slots,), i64),
        "note_reward": ((slots,), f64),
        "note_money": ((slots,), f64),
        "judged_sum": ((), f64),
        "money_sum": ((), f64),
        "tasks_done": ((), i64),
    }
    return fields


def forget(state: State, rows: Tensor) -> None:
    """Empty the memory of the students ``rows``."""
    for name in layout(0):
        state[name][rows] = 0
    state["note_cue"][rows] = state["note_advice"][rows] = _EMPTY


def recall(state: State, cue: Tensor, cues: Tensor, plan: Tensor) -> Tensor:
    """The slot of the note that each student starts from, int64 [S]; -1 for none.

    Args:
        state: of the population.
        cue: of each student's task, int64 [S].
        cues: unit vectors, [C, D].
        plan: index into `PLANS`, int64 [S]: none; the best note of the very cue; the best of the most similar cue, if the
            similarity is above a half. Better is the note with the higher mean judged score when shown.
    """
    similarity, worth = similarities(state, cue, cues), mean_reward(state)
    exact = similarity > 1 - 1e-5
    allowed = torch.stack([torch.zeros_like(exact), exact, similarity > _MIN_SIMILARITY])[
        plan, torch.arange(len(cue), device=cue.device)
    ]
    rank = (similarity.double() * 100 + worth).masked_fill(~allowed, -1)
    best = rank.argmax(1)
    return torch.where(allowed.any(1), best, _EMPTY)


def similarities(state: State, cue: Tensor, cues: Tensor) -> Tensor:
    """Of every note's cue to those of the tasks, float32 [S, M]; -1 where there is no note."""
    noted = state["note_cue"]
    found = (cues[noted.clamp_min(0)] * cues[cue].unsqueeze(1)).sum(2)
    return torch.where(noted == _EMPTY, -1.0, found)


def mean_reward(state: State) -> Tensor:
    """Mean judged score of the tasks that each note was shown for, float64 [S, M]; a half where it never was."""
    hits = state["note_hits"]
    return torch.where(hits > 0, state["note_reward"] / hits.clamp_min(1), 0.5)


def count(state: State, slot: Tensor, judged: Tensor, money: Tensor) -> None:
    """Count a task: slot of the note shown or -1, int64 [S]; judged score and money, float64 [S]."""
    shown = torch.nn.functional.one_hot(slot + 1, state["note_hits"].shape[1] + 1)[:, 1:]
    state["note_hits"][:] += shown
    state["note_reward"][:] += shown * judged.unsqueeze(1)
    state["note_money"][:] += shown * money.unsqueeze(1)
    state["judged_sum"][:] += judged
    state["money_sum"][:] += money
    state["tasks_done"][:] += 1


def effect(state: State) -> tuple[Tensor, Tensor]:
    """Estimated effect of every note: mean judged score and mean money of the tasks that it was shown for, less those of all
    others, float64 [S, M] each; 0 for a note that was never shown."""
    hits = state["note_hits"]
    others = (state["tasks_done"].unsqueeze(1) - hits).clamp_min(1)
    with_it = mean_reward(state), state["note_money"] / hits.clamp_min(1)
    sums = (("judged_sum", "note_reward"), ("money_sum", "note_money"))
    without = ((state[total].unsqueeze(1) - state[shown]) / others for total, shown in sums)
    reward, money = (torch.where(hits > 0, a - b, 0.0) for a, b in zip(with_it, without, strict=True))
    return reward, money


def write(state: State, chosen: Tensor, cue: Tensor, advice: Tensor) -> None:
    """Write a note of an advice for a cue, for the students of a mask, bool [S]; `NO_ADVICE` is not noted.

    It replaces a note of the same cue, else takes an empty slot, else replaces the note with the lowest mean judged score.
    """
    chosen = chosen & (advice != NO_ADVICE)
    same = (state["note_cue"] == cue.unsqueeze(1)).double()
    empty = (state["note_cue"] == _EMPTY).double()
    slot = (4 * same + 2 * empty - mean_reward(state)).argmax(1)
    rows = torch.arange(len(cue), device=cue.device)
    known = (state["note_cue"][rows, slot] == cue) & (state["note_advice"][rows, slot] == advice)
    rows, slot = rows[chosen & ~known], slot[chosen & ~known]
    for name, value in (
        ("note_cue", cue[rows]),
        ("note_advice", advice[rows]),
        ("note_born", state["tasks_done"][rows]),
    ):
        state[name][rows, slot] = value
    for name in ("note_hits", "note_reward", "note_money"):
        state[name][rows, slot] = 0


def prune(state: State, chosen: Tensor) -> Tensor:
    """Remove notes by ATLAS's thresholds, for the students of a mask, bool [S]; returns how many went, int64 [S].

    A note goes that was shown for less than 5 % of ten or more tasks; or that, shown five times or more, came with a judged
    score 0.01 below that of the other tasks; or that, shown ten times or more, made a difference below 0.01. (ATLAS also asks
    whether students adopt a note; here they always do.)
    """
    hits, age = state["note_hits"], state["tasks_done"].unsqueeze(1) - state["note_born"]
    delta, _ = effect(state)
    rare = (age >= _TRIAL) & (hits < _HIT_RATE * age)
    harmful = (hits >= _HARM_HITS) & (delta < _HARM)
    idle = (hits >= _IDLE_HITS) & (delta.abs() < _IDLE)
    gone = (rare | harmful | idle) & (state["note_cue"] != _EMPTY) & chosen.unsqueeze(1)
    state["note_cue"].masked_fill_(gone, _EMPTY)
    state["note_advice"].masked_fill_(gone, _EMPTY)
    for name in ("note_hits", "note_reward", "note_money", "note_born"):
        state[name].masked_fill_(gone, 0)
    return gone.sum(1)


def observe(state: State, cues: Tensor) -> Tensor:
    """Observation of the memory, float32 [S, 5], within [-1, 1].

    Share of the slots in use; whether there is a note of the very cue, and its mean judged score; similarity of the most
    similar cue, and the mean judged score of its note.
    """
    similarity, reward = similarities(state, state["cue"], cues), mean_reward(state)
    nearest, place = similarity.max(1)
    exact, value = (nearest > 1 - 1e-5).double(), reward.gather(1, place.unsqueeze(1)).squeeze(1) * (nearest > -1)
    filled = (state["note_cue"] != _EMPTY).double().mean(1)
    return torch.stack([filled, exact, exact * value, nearest.double(), value], dim=1).float().clamp(-1, 1)


def remember(state: State, session: Session, operation: Tensor, judged: Tensor) -> None:
    """Write or prune after a task, unless the memory is frozen or the money spent: ``operation`` is an index, int64 [S].

    The note is the supervisor's last advice, or else that which the student's own attempt followed, if its judged score was at
    least 0.5.
    """
    able, sizes = (state["frozen"] == 0) & (session.left > 0), session.world.sizes
    writes, prunes = (able & (operation == OPERATIONS.index(name)) for name in ("write", "prune"))
    advice = torch.where(session.advice == NO_ADVICE, session.own_advice, session.advice).masked_fill(
        judged < 0.5, NO_ADVICE
    )
    written = session.written + sizes.note * (advice != NO_ADVICE)
    reading = sizes.note * (state["note_cue"] != _EMPTY).sum(1).double()
    for chosen, tokens in ((writes, written), (prunes, reading)):
        index = chosen.nonzero().squeeze(1)
        session.charge("memory", index, tokens[index])
    write(state, writes, state["cue"], advice)
    gone = prune(state, prunes)
    session.changed = (writes & (advice != NO_ADVICE)) | (gone > 0)
    written_down = (writes & (advice != NO_ADVICE)).nonzero().squeeze(1)
    session.add_event(written_down, "noted", [session.world.advices[a] for a in advice[written_down].tolist()])
    session.add_event(prunes.nonzero().squeeze(1), "pruned", gone[prunes].tolist())


_COLUMNS = ("cue", "advice", "born", "hits", "reward", "money")
_RECORD = ("tasks_done", "judged_sum", "money_sum")


def read(state: State, student: int, says: Sequence[str]) -> tuple[list[Note], Record]:
    """A student's notes and their record, as a notebook keeps them; ``says`` are the texts of the world's advices."""
    columns = [state[f"note_{name}"][student].tolist() for name in _COLUMNS]
    rows = enumerate(zip(*columns, strict=True))
    found = [Note(slot, cue, advice, says[advice], *rest) for slot, (cue, advice, *rest) in rows if cue != _EMPTY]
    tasks, reward, money = (state[total][student].item() for total in _RECORD)
    return found, Record(int(tasks), float(reward), float(money))


def replace(state: State, student: int, found: Sequence[Note], record: Record, cues: int, advices: int) -> None:
    """Give a student these notes and no others; of a world with this many cues and advices.

    Raises:
        ValueError: there are more notes than slots, or one is of no cue or advice of this world.
    """
    slots = state["note_cue"].shape[1]
    if len(found) > slots:
        raise ValueError(
            f"There are {len(found)} notes for a memory of {slots} slots; make the environment with more slots."
        )
    for note in found:
        if not (0 <= note.cue < cues and 0 <= note.advice < advices):
            raise ValueError(
                f"The note {note.says!r} is of cue {note.cue}, advice {note.advice}; there are {cues} and {advices}."
            )
    forget(state, torch.tensor([student]))
    for slot, note in enumerate(found):
        for name in _COLUMNS:
            state[f"note_{name}"][student, slot] = getattr(note, name)
    for total, amount in zip(_RECORD, record, strict=True):
        state[total][student] = amount
