"""Feedback that may be wrong: what is drawn, what it does to attempts, and that nothing tells of it but success."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pettingzoo
import pytest
import torch

from kdgym.tasks.feedback import KINDS
from tests.students.language.tiny_model import write_model

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"updates": 1, "budget": 8 * 500.0, "validation_items": 2, "test_items": 4, "pool": "train"}
RULE: dict[str, Any] = {"fraction": 0.5, "which": "wrong", "length": 1, "shaping": "plain", "weight": 1}
STUDENTS, CARRY = 4, 3


def make(num_envs: int = STUDENTS, name: str = "Feedback-Math-v1", **changes: Any) -> Any:
    envs = gym.make_vec(f"kdgym/{name}", num_envs=num_envs, autoreset=False, **{**SMALL, **changes})
    envs.reset(seed=0)
    return envs


def act(envs: Any, **decisions: Any) -> np.ndarray:
    action: np.ndarray = envs.single_action_space.encode(envs.num_envs, **{**RULE, **decisions})
    return action


def test_two_kinds_are_wrong_at_any_time_and_which_they_are_changes_twice() -> None:
    envs, faults, starts, patterns = make(validation_items=1), set(), set(), set()
    for seed in range(6):
        envs.reset(seed=10 * seed, options={"restart": "continue"})
        faults |= {*envs.state["fault"].flatten().tolist()}
        begins = envs.state["begins"].tolist()
        starts |= {(turn, begin) for row in begins for turn, begin in enumerate(row)}
        every = [envs.hidden()["wrong"]]
        for _ in range(7):
            envs.step(act(envs, fraction=0))
            every.append(envs.hidden()["wrong"])
        assert (np.stack(every).sum(2) == 2).all()
        patterns |= {tuple(row) for row in np.concatenate(every).tolist()}
        changed = (np.stack(every[1:]) != np.stack(every[:-1])).any(2)
        assert all(step + 1 in begins[student] for step, student in zip(*np.nonzero(changed), strict=True))
    assert patterns == {(0, 1, 1, 0), (0, 1, 0, 1), (0, 0, 1, 1)}  # a mark shows nothing
    assert starts == {(0, 0), (1, 2), (1, 3), (1, 4), (2, 4), (2, 5), (2, 6)}
    assert faults == {0, 1, 2, 3}


@pytest.mark.parametrize("kind", KINDS[1:])
def test_after_wrong_feedback_attempts_end_wrong(kind: str) -> None:
    """Long feedback shows everything, so what ends right is up to it; a forgotten carry makes hard problems wrong alone."""
    envs, found = make(budget=1e6), []
    for seed in range(6):
        envs.reset(seed=10 * seed, options={"restart": "continue"})
        wrong, fault = envs.hidden()["wrong"][:, KINDS.index(kind)].copy(), envs.state["fault"][:, 0].numpy().copy()
        found.append((wrong, fault, envs.step(act(envs, kind=kind))[0]["guided_success"]))
    wrong, fault, seen = map(np.concatenate, zip(*found, strict=True))
    hard = np.arange(seen.shape[1]) % 2 == 1
    assert seen[wrong == 0].mean() > 0.6  # a skill whose attempts were all right has none that is guided
    assert seen[(wrong == 1) & (fault != CARRY)].mean() < 0.1
    assert seen[wrong == 1][:, hard].mean() < 0.1


def test_wrong_feedback_is_learned_and_right_feedback_too() -> None:
    """With the kinds turned about, a student's validation loss goes the other way."""
    losses = []
    for wrong in (0, 1):
        envs = make(updates=4, budget=8 * 4 * 500.0, validation_items=16)
        envs.state["wrong"][:] = wrong
        envs.state["fault"][:] = 0
        before = envs._observe()["loss"].mean()
        losses.append(float(envs.step(act(envs, kind="next_step", fraction=0.25))[0]["loss"].mean() - before))
    assert losses[0] < 0 and losses[0] < losses[1]


@pytest.mark.parametrize("name", ["wrong", "fault", "begins"])
def test_what_is_hidden_is_not_seen(name: str) -> None:
    """Of kinds that are not used, and of draws to come, neither observations nor rewards nor infos say anything."""
    plain, changed = make(), make()
    for envs in (plain, changed):
        envs.state["wrong"][:, 0] = torch.tensor([0, 0, 1, 1])
        envs.state["begins"][:, 1:] = torch.tensor([4, 6])
    if name == "wrong":
        changed.state["wrong"][:, 0] = torch.tensor([0, 0, 0, 0])
        changed.state["wrong"][:, 1:] = torch.tensor([0, 1, 1, 0])
    elif name == "fault":
        changed.state["fault"][:] = (changed.state["fault"] + 1) % 4
    else:
        changed.state["begins"][:, 1:] = torch.tensor([3, 5])
    for _ in range(3):
        one, other = (envs.step(act(envs, kind="next_step")) for envs in (plain, changed))
        assert all(np.array_equal(one[0][key], other[0][key]) for key in one[0])
        assert np.array_equal(one[1], other[1])
        assert repr(one[4]) == repr(other[4])


def test_to_who_says_nothing_reliability_is_nothing() -> None:
    """The neutral action is the control: the same students, bit for bit, whether feedback would be wrong or right."""
    doubtful, sound = make(), make(faulty=0, shifts=1)
    for _ in range(2):
        one, other = (envs.step(act(envs, fraction=0)) for envs in (doubtful, sound))
        assert all(np.array_equal(one[0][key], other[0][key]) for key in one[0])
    assert torch.equal(doubtful.state["student"], sound.state["student"])
    assert not sound.hidden()["wrong"].any() and "wrong" not in sound.state


def test_a_mark_is_right_even_where_all_that_shows_something_is_wrong() -> None:
    ends = [
        make(faulty=faulty).step(make().single_action_space.encode(STUDENTS, **RULE, kind="mark")) for faulty in (0, 3)
    ]
    assert all(np.array_equal(ends[0][0][key], ends[1][0][key]) for key in ends[0][0])


def test_the_second_version_has_base_6_and_the_second_splits_unless_told_otherwise() -> None:
    for name in ("Feedback-Math-v1", "Tutoring-Math-v1"):
        plain, other = (gym.make_vec(f"kdgym/{name}", num_envs=1, **options) for options in ({}, {"radix": 4}))
        assert plain.config.task_options == {"radix": 6, "version": 1}
        assert other.config.task_options == {"radix": 4, "version": 1}
        assert plain.task.version == other.task.version == 1
    assert gym.make_vec("kdgym/Orchestrate-Math-v1", num_envs=1).world.task.version == 1


def test_pupil_and_tutor_taking_turns_have_the_same_reliability() -> None:
    turns: Any = pettingzoo.make("aec", "kdgym/Tutoring-Math-v1", **SMALL).unwrapped
    turns.reset(seed=0)
    assert np.array_equal(turns.pupils.hidden()["wrong"], make(1, name="Tutoring-Math-v1").hidden()["wrong"])
    assert turns.pupils.hidden()["wrong"].sum() == 2


def test_language_models_are_told_nothing_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="faulty is 2, but feedback is wrong in task='Scratchpad'"):
        gym.make_vec("kdgym/Feedback-Math-v1", 1, student=f"hf:{write_model(tmp_path)}")
