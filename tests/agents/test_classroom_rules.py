"""Teachers of a classroom bid and plan as their rules say: one owns two skills, the other one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdgym.envs.classroom.bids import MOST_CREDITS, Bids
from tests.agents.rules import Observation, decisions, observed, teacher

SPACE, SKILLS = Bids([[0, 1], [2]]), ("sum", "product", "difference")


def seen(**changes: Any) -> Observation:
    """Goals of both teachers sum to 1 together, as in the environment: a half each."""
    skills = {"target": [0.375, 0.125, 0.5], "accuracy": [0.52, 0.02, 0.27], "loss": [1.0] * 3, "change": [0.0] * 3}
    sources = {"price": [1.0] * 3, "source_loss": [1.0] * 3, "source_loss_mean": [1.0] * 3, "source_spend": [0.0] * 3}
    teachers = {"gain": [0.0, 0.0], "purse": [1.0, 1.0], "bid": [0.0, 0.0], "share": [0.5, 0.5], "budget": 1}
    return observed(**{**skills, **sources, **teachers, **changes})


def decided(name: str, observation: Observation) -> tuple[list[float], Any]:
    """Credits bid by both, and how each splits its time over its skills."""
    found = decisions(teacher(name, SPACE, observation), SPACE, observation, SKILLS)
    return [MOST_CREDITS * found[f"bid of teacher {t}"] for t in range(2)], [found[skill] for skill in SKILLS]


# By goals within the subject, 0.75 and 0.25, and 1.02 less accuracy, a half and 1: 0.375 and 0.25.
PLAN = [0.6, 0.4, 1]
LACK = [0.375 + 0.25, 0.75]  # the second teacher's goal is one skill
DECISIONS: list[tuple[str, dict[str, Any], list[float], list[float]]] = [
    ("bid_uniform", {}, [1, 1], [0.5, 0.5, 1]),
    ("bid_uniform", {"purse": [0.1, 1], "time": 0.5}, [1, 1], [0.5, 0.5, 1]),
    ("bid_target", {}, [1, 1], PLAN),
    ("bid_target", {"purse": [0.1, 1], "time": 0.5}, [1, 1], PLAN),
    # What a subject lacks, times the credits a step that would empty the purse with the last one.
    ("bid_proportional", {}, LACK, PLAN),
    ("bid_proportional", {"purse": [0.25, 0.5], "time": 0.5}, [LACK[0] / 2, LACK[1]], PLAN),
    ("bid_proportional", {"purse": [1, 0], "time": 0.1}, [MOST_CREDITS, 0], PLAN),
    # Modest at first, then what the other bid.
    ("tit_for_tat", {"bid": [3, 2]}, [0.5, 0.5], PLAN),
    ("tit_for_tat", {"bid": [3, 2], "time": 0.9}, [2, 3], PLAN),
]


@pytest.mark.parametrize(("name", "changes", "credits", "plan"), DECISIONS)
def test_bids_and_plans(name: str, changes: dict[str, Any], credits: list[float], plan: list[float]) -> None:
    bid, shares = decided(name, seen(**changes))
    assert bid == pytest.approx(credits, abs=1e-4)
    assert shares == pytest.approx(plan, rel=1e-3)


def test_a_teacher_of_many_answers_the_mean_of_the_others_bids() -> None:
    space = Bids([[0], [1], [2]])
    observation = seen(bid=[3, 2, 1], purse=[1] * 3, gain=[0] * 3, share=[1 / 3] * 3, time=0.9)
    found = decisions(teacher("tit_for_tat", space, observation), space, observation, SKILLS)
    assert [MOST_CREDITS * found[f"bid of teacher {t}"] for t in range(3)] == pytest.approx([1.5, 2, 2.5], abs=1e-4)


def test_a_perfect_student_is_bid_almost_nothing_for() -> None:
    bid, shares = decided("bid_proportional", seen(accuracy=[1.0] * 3))
    assert bid == pytest.approx([0.02, 0.02], abs=1e-4)
    assert np.isfinite(shares).all()


def test_bid_trust_plans_by_what_is_missing_and_by_sources_whose_items_are_as_hard_as_the_validation() -> None:
    """By exp(-8 gap), gaps adding up where something was bought; items may be too hard or too easy."""
    space, gap = Bids([[0, 1], [2]], sources=2), float(np.log(3)) / 8
    fresh = {
        "price": [1.0] * 6,
        "source_loss": [9.0] * 6,
        "source_loss_mean": [9.0] * 6,
        "source_spend": [0.0] * 6,
    }
    first = seen(**fresh)
    agent = teacher("bid_trust", space, first)

    def shares(observation: Observation) -> np.ndarray:
        action = np.asarray(agent.act(observation), dtype=np.float64).reshape(2, 2, space.entries)[0]
        assert action[:, 0] == pytest.approx([0, 0])  # the even pace
        weight = np.exp(space.temperature * action[:, 1:])
        return np.asarray(weight / weight.sum(1, keepdims=True))

    assert shares(first)[0] == pytest.approx([0.3, 0.3, 0.2, 0.2], abs=1e-3)
    lost = {**fresh, "source_loss": [1 + gap, 1, 1, 1 - gap, 1, 9], "source_spend": [0.1] * 5 + [0]}
    once, twice = seen(**lost), seen(**{**lost, "source_spend": [0.2] * 5 + [0]})
    found = shares(once)
    assert found[0] == pytest.approx([0.15, 0.45, 0.3, 0.1], abs=1e-3)
    assert found[1, :2] == pytest.approx([0.5, 0.5], abs=1e-2)
    assert shares(twice)[0] == pytest.approx([0.06, 0.54, 0.36, 0.04], abs=1e-3)
    agent.reset(first)
    assert shares(first)[0] == pytest.approx([0.3, 0.3, 0.2, 0.2], abs=1e-3)
