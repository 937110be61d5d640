"""Notes: the best of the most similar is shown, a new one takes the place of the worst, what does not help is pruned."""

from __future__ import annotations

import pytest
import torch

from kdgym.core.fields import Fields
from kdgym.envs.orchestrate import memory as notes
from kdgym.envs.orchestrate.frozen_students import NO_ADVICE

CUES = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])  # the first two are alike, the third is not


def memory(students: int = 1, slots: int = 3) -> dict[str, torch.Tensor]:
    fields = Fields(students, notes.layout(slots), torch.device("cpu"))
    state = {name: fields[name] for name in notes.layout(slots)}
    notes.forget(state, torch.arange(students))
    return state


def note(state: dict[str, torch.Tensor], cue: int, advice: int) -> None:
    everybody = len(state["note_cue"])
    notes.write(
        state, torch.ones(everybody, dtype=torch.bool), torch.full((everybody,), cue), torch.full((everybody,), advice)
    )


def recalled(state: dict[str, torch.Tensor], cue: int, plan: str) -> int:
    slot = notes.recall(state, torch.tensor([cue]), CUES, torch.tensor([notes.PLANS.index(plan)]))
    return int(slot[0])


def test_what_is_shown() -> None:
    state = memory()
    assert recalled(state, 0, "similar") == -1
    note(state, 1, 7)
    assert recalled(state, 0, "similar") == 0
    assert recalled(state, 0, "exact") == -1
    assert recalled(state, 0, "own") == -1
    assert recalled(state, 2, "similar") == -1  # nothing in common
    note(state, 0, 8)
    assert recalled(state, 0, "similar") == recalled(state, 0, "exact") == 1


def test_writing_replaces_the_same_cue_then_fills_then_replaces_the_worst() -> None:
    state = memory(slots=2)
    note(state, 0, 1)
    note(state, 0, 2)
    assert state["note_advice"][0].tolist() == [2, -1]
    note(state, 1, 3)
    notes.count(state, torch.tensor([0]), torch.tensor([0.9]), torch.tensor([1.0]))
    notes.count(state, torch.tensor([1]), torch.tensor([0.1]), torch.tensor([1.0]))
    note(state, 2, 4)
    assert state["note_cue"][0].tolist() == [0, 2]
    assert state["note_hits"][0].tolist() == [1, 0]  # a new note has no record
    note(state, 0, NO_ADVICE)
    assert state["note_advice"][0].tolist() == [2, 4]


def test_what_is_written_again_keeps_its_record() -> None:
    state = memory()
    note(state, 0, 1)
    notes.count(state, torch.tensor([0]), torch.tensor([0.5]), torch.tensor([2.0]))
    note(state, 0, 1)
    assert state["note_hits"][0].tolist() == [1, 0, 0]
    assert state["note_money"][0].tolist() == [2, 0, 0]


def pruned(hits: int, with_it: float, others: int, without: float) -> bool:
    """Whether a note goes that was shown so often at this mean score, with so many other tasks at that one."""
    state = memory()
    note(state, 0, 1)
    for slot, times, judged in ((0, hits, with_it), (-1, others, without)):
        for _ in range(times):
            notes.count(state, torch.tensor([slot]), torch.tensor([judged]), torch.tensor([0.0]))
    return int(notes.prune(state, torch.tensor([True]))[0]) == 1


def test_the_thresholds_of_pruning() -> None:
    assert pruned(hits=0, with_it=0, others=10, without=0.5)  # never shown in ten tasks
    assert not pruned(hits=0, with_it=0, others=9, without=0.5)
    assert pruned(hits=5, with_it=0.4, others=5, without=0.5)  # harmful
    assert not pruned(hits=4, with_it=0.4, others=5, without=0.5)
    assert pruned(hits=10, with_it=0.5, others=5, without=0.5)  # makes no difference
    assert not pruned(hits=10, with_it=0.6, others=5, without=0.5)


def test_what_a_note_changes_is_measured_against_the_other_tasks() -> None:
    state = memory()
    note(state, 0, 1)
    for slot, judged, money in ((0, 0.9, 3.0), (0, 0.7, 5.0), (-1, 0.5, 8.0), (-1, 0.3, 2.0)):
        notes.count(state, torch.tensor([slot]), torch.tensor([judged]), torch.tensor([money]))
    reward, money = notes.effect(state)
    assert reward[0].tolist() == pytest.approx([0.4, 0, 0])
    assert money[0].tolist() == pytest.approx([-1.0, 0, 0])


def test_who_does_not_prune_keeps_everything() -> None:
    state = memory(2)
    note(state, 0, 1)
    for _ in range(10):
        notes.count(state, torch.tensor([-1, -1]), torch.tensor([0.5, 0.5]), torch.zeros(2))
    assert notes.prune(state, torch.tensor([True, False])).tolist() == [1, 0]
    assert (state["note_cue"][:, 0] == torch.tensor([-1, 0])).all()


def test_what_a_teacher_sees_of_it() -> None:
    state = memory(slots=4)
    state["cue"] = torch.tensor([0])
    assert notes.observe(state, CUES)[0].tolist() == [0, 0, 0, -1, 0]
    note(state, 1, 1)
    filled, exact, _, similarity, _ = notes.observe(state, CUES)[0].tolist()
    assert (filled, exact) == (0.25, 0)
    assert abs(similarity - 0.8) < 1e-6
