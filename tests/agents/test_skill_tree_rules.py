"""Teachers of skill trees decide as DataEnvGym's policies do, on two skills of two subskills each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdgym.envs.datagen.tree_moves import TreeMoves
from tests.agents.rules import Observation, acts, alike, observed, teacher

LARGEST = 0.5
SPACE = TreeMoves(2, 2, LARGEST)
ALLOCATED = [0.25, 0.25, 0.25, 0.0]


def seen(**changes: Any) -> Observation:
    """The first skill is open, of the second one subskill."""
    tree = {"open": [1, 1, 1, 0], "allocation": ALLOCATED, "subskill_spend": [0.0] * 4}
    return observed(**{**tree, "target": [0.5, 0.5], "accuracy": [0.5, 0.5], "change": [0, 0], **changes})


def decided(agent: Any, observation: Observation) -> tuple[list[bool], list[float]]:
    """Which skills explore, and how much every subskill's allocation is to change."""
    moves = acts(agent, SPACE, observation)[0].reshape(2, 3)
    assert set(moves[:, 0].tolist()) <= {-1.0, 1.0}
    return (moves[:, 0] > 0).tolist(), (LARGEST * moves[:, 1:].ravel()).tolist()


def towards(wanted: list[float], allocation: list[float] = ALLOCATED) -> Any:
    """The change that leads to these allocations, at most `LARGEST` a step; to compare with."""
    return pytest.approx((np.array(wanted) - allocation).clip(-LARGEST, LARGEST).tolist(), abs=1e-6)


STEP = 10 / 640
BEHIND = [0.0001 / 0.4004, 0.2001 / 0.4004, 0.1001 / 0.4004, 0.1001 / 0.4004]
ALL_OPEN = {"open": [1, 1, 1, 1]}
# Name, what is seen, which skills explore, wanted allocations.
DECISIONS: list[tuple[str, dict[str, Any], list[bool], list[float]]] = [
    ("tree_uniform", {}, [False, True], [0.25] * 4),
    ("tree_uniform", {"open": [0, 0, 1, 1]}, [True, False], [0.25] * 4),
    ("tree_uniform", {**ALL_OPEN, "accuracy": [0, 1], "target": [0, 1]}, [False, False], [0.25] * 4),
    ("tree_constant", {}, [True, True], ALLOCATED),
    ("tree_constant", ALL_OPEN, [True, True], ALLOCATED),
    # What had least gets most: in proportion to how far behind the one ahead of all it is, and 0.0001.
    ("fill_balanced", {"subskill_spend": [0.3, 0.1, 0.2, 0.2]}, [False, True], BEHIND),
    ("fill_balanced", {**ALL_OPEN, "subskill_spend": [0.1] * 4}, [False, False], [0.25] * 4),
    # An improvement of more than 0.01 brings ten more items to each subskill; without one, the skill explores.
    ("threshold", {"change": [0.02, 0.0]}, [False, True], [0.25 + STEP, 0.25 + STEP, 0.25, 0]),
    ("threshold", {"change": [0.0, 0.02]}, [False, False], [0.25, 0.25, 0.25 + STEP, STEP]),
    ("threshold", {"change": [-0.5, 0.01]}, [False, True], ALLOCATED),
    ("threshold", {**ALL_OPEN, "change": [0.5, 0.0]}, [False, False], [0.25 + STEP, 0.25 + STEP, 0.25, 0]),
    # By target and 1.05 less accuracy, split over what is open.
    ("tree_target", {"accuracy": [0.8, 0.3]}, [False, True], [0.125, 0.125, 0.75, 0]),
    ("tree_target", {**ALL_OPEN, "accuracy": [0.8, 0.3]}, [False, False], [0.125, 0.125, 0.375, 0.375]),
    ("tree_target", {"target": [1, 0]}, [False, False], [0.5, 0.5, 0, 0]),
    ("tree_target", {"target": [0.8, 0.2], "open": [0] * 4}, [True, True], [0] * 4),
]


@pytest.mark.parametrize(("name", "changes", "explore", "wanted"), DECISIONS)
def test_moves(name: str, changes: dict[str, Any], explore: list[bool], wanted: list[float]) -> None:
    observation = seen(**changes)
    explored, change = decided(teacher(name, SPACE, observation), observation)
    assert explored == explore
    assert change == towards(wanted)


def test_tree_trust_gives_less_to_what_stays_harder_than_the_validation() -> None:
    """By exp(-2 gap), gaps adding up over the lessons in which a subskill had items; easier than the validation is no gap."""
    first = seen(**ALL_OPEN, loss=[1.0, 1.0], subskill_loss=[9.0] * 4)
    agent = teacher("tree_trust", SPACE, first)
    assert decided(agent, first)[1] == towards([0.25] * 4)  # nothing was bought yet
    gap = float(np.log(3)) / 2
    once = seen(**ALL_OPEN, loss=[1.0, 1.0], subskill_loss=[1 + gap, 1, 1, 0.2], subskill_spend=[0.1, 0.1, 0, 0.1])
    assert decided(agent, once)[1] == towards([0.125, 0.375, 0.25, 0.25])
    again = {**once, "subskill_spend": once["subskill_spend"] * 2}
    assert decided(agent, again)[1] == towards([0.05, 0.45, 0.25, 0.25])
    agent.reset(first)
    assert decided(agent, first)[1] == towards([0.25] * 4)


def test_tree_trust_opens_and_practises_what_is_open() -> None:
    observation = seen(loss=[1.0, 1.0], subskill_loss=[1.0] * 4, accuracy=[0.8, 0.3])
    explored, change = decided(teacher("tree_trust", SPACE, observation), observation)
    assert explored == [False, True] and change == towards([0.125, 0.125, 0.75, 0])


def test_informed_tree_practises_what_is_taught_rightly_and_opens_no_more_than_that() -> None:
    faulty = np.array([[1, 0, 0, 1], [1, 0, 0, 1]], dtype=bool)
    agent = teacher("informed_tree", SPACE, seen(), hidden={"faulty": faulty})
    explored, change = decided(agent, seen(accuracy=[0.8, 0.3]))
    assert explored == [False, False] and change == towards([0, 0.25, 0.75, 0])
    assert decided(agent, seen(open=[1, 0, 0, 1]))[0] == [True, True]


def test_alternating_explores_every_other_step_until_a_skill_had_its_share() -> None:
    """A skill's share is a half; what is open is never practised on purpose."""
    observation = seen(subskill_spend=[0.3, 0.25, 0.3, 0.1])
    agent = teacher("alternating", SPACE, observation)
    for explores in (True, False, True, False):
        explored, change = decided(agent, observation)
        assert explored == [False, explores]
        assert change == towards([0] * 4)
    assert decided(agent, seen(subskill_spend=[0.2, 0.2, 0.3, 0.2]))[0] == [True, False]
    agent.reset(observation)
    assert decided(agent, observation)[0] == [False, True]


def test_random_moves_are_fair_coins_and_random_allocations() -> None:
    many = alike(seen(allocation=[0.0] * 4), 2000)
    agent = teacher("tree_random", SPACE, many, seed=1)
    moves = acts(agent, SPACE, many).reshape(2000, 2, 3)
    explores, wanted = moves[:, :, 0] > 0, LARGEST * moves[:, :, 1:]
    assert explores.mean(0) == pytest.approx([0.5, 0.5], abs=0.04)
    assert explores.all(1).mean() == pytest.approx(0.25, abs=0.04)  # every skill has a coin of its own
    assert np.quantile(wanted, [0.1, 0.5, 0.9]) == pytest.approx(
        [0.05, 0.25, 0.45], abs=0.02
    )  # from 0 to twice a quarter
    assert not np.array_equal(acts(agent, SPACE, many), moves.reshape(2000, -1))
    assert np.array_equal(acts(teacher("tree_random", SPACE, many, seed=1), SPACE, many), moves.reshape(2000, -1))
