"""What upper bounds try: candidates by hand, on copies of which one ends best because the test says so.

That the best of real copies is taken is in ``test_upper_bounds.py``.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kdgym.envs.classroom.bids import Bids
from kdgym.envs.datagen.tree_moves import TreeMoves
from kdgym.envs.feedback.tutoring_moves import TutoringMoves
from kdgym.evaluation import agent_class
from kdgym.spaces import MixedBox, Shares
from kdgym.students.policy_gradient import SHAPINGS
from kdgym.tasks.feedback import KINDS, WHICH
from tests.agents.rules import Observation, acts, alike, observed, teacher

MANY = 600


class Copies:
    """``k`` copies of each student; those of ``best`` end, after three steps, with the least loss on the goals."""

    def __init__(self, space: Any, observation: Observation, best: int, k: int) -> None:
        self.space = space
        self.seen = {name: value.repeat(k, axis=0) for name, value in observation.items()}
        self.is_best = np.arange(len(self.seen["time"])) % k == best
        self.tried: list[np.ndarray] = []

    def step(self, moves: np.ndarray) -> tuple[Any, ...]:
        assert moves.shape == (len(self.is_best), *self.space.shape)
        self.tried.append(moves)
        # The best has lost more where it does not count, so that a sum of losses alone is misled.
        on_goal = np.where(self.is_best, 0.5, 0.6)[:, None]
        loss = np.where(self.seen["target"] > 0, on_goal, 9.0 - 10 * on_goal).astype(np.float32)
        return {**self.seen, "loss": loss}, None, np.full(len(moves), len(self.tried) == 3), None, None


def tries(
    name: str, space: Any, observation: Observation, best: int, kind: Any = None, faulty: Any = None
) -> tuple[np.ndarray, Copies]:
    """The actions of all students, which are the candidate that ends best, and what was tried for that."""
    agent, copies = teacher(name, space, observation), []

    def branch(k: int) -> Copies:
        copies.append(Copies(space, observation, best, k))
        return copies[-1]

    hidden = {
        "kind": kind,
        "faulty": np.zeros_like(observation.get("open", kind), dtype=bool) if faulty is None else faulty,
    }
    agent.attach(SimpleNamespace(hidden=lambda: hidden, branch=branch))
    action = acts(agent, space, observation)
    (only,) = copies
    return action, only


def chosen(
    name: str, space: Any, observation: Observation, best: int, kind: Any = None, faulty: Any = None
) -> np.ndarray:
    """The first student's action. Copies go on by candidate 0, whose rule says the same again as nothing was learned."""
    action, copies = tries(name, space, observation, best, kind, faulty)
    first, *later = (moves.reshape(len(action), -1, space.shape[0]) for moves in copies.tried)
    assert first.shape[1] == agent_class(name).candidates
    assert np.array_equal(action, first[:, best])
    assert len(later) == 2 and all(np.allclose(moves, first[:, :1]) for moves in later)
    return np.asarray(action[0])


def many(name: str, space: Any, observation: Observation, best: int, kind: Any = None) -> np.ndarray:
    """One candidate of many students who are alike."""
    action, _ = tries(name, space, alike(observation, MANY), best, kind)
    return action


SHARES, NOTHING = Shares(6), float(np.exp(-8))
TARGET, ACCURACY = [0.5, 0.0, 0.5], [0.82, 0.5, 0.22]  # 1.02 less accuracy: 0.2 and 0.8
CLEAN = np.array([[0, 1, 1, 0, 2, 0], [0, 0, 0, 0, 0, 1]])


def market() -> Observation:
    return observed(target=TARGET, accuracy=ACCURACY, price=[1.0] * 6)


@pytest.mark.parametrize(("candidate", "weights"), [(0, [0.1, 0.4]), (1, [0.5, 0.5]), (2, [0.1**0.5, 0.4**0.5])])
def test_lessons_by_target_and_what_is_missing(candidate: int, weights: list[float]) -> None:
    """From clean sources alone: the first skill's first, the last one's second."""
    given = SHARES.decode(chosen("lookahead", SHARES, market(), candidate, CLEAN))
    wanted = np.maximum([weights[0], 0, 0, 0, 0, weights[1]], NOTHING * max(weights))
    assert given == pytest.approx(wanted / wanted.sum(), rel=1e-4)


@pytest.mark.parametrize("candidate", range(3, 8))
def test_other_lessons_vary_and_some_are_of_other_skills(candidate: int) -> None:
    """Logarithms vary by 0.7 around the first candidate's; from the sixth on, 0.15 of the money is for anything."""
    drawn = (
        SHARES.decode(many("lookahead", SHARES, market(), candidate, np.zeros((MANY, 6)))).reshape(MANY, 3, 2).sum(2)
    )
    ratio = np.log(drawn[:, 2] / drawn[:, 0])
    if candidate < 5:
        assert ratio.mean() == pytest.approx(np.log(4), abs=0.15) and ratio.std() == pytest.approx(
            2**0.5 * 0.7, abs=0.1
        )
        assert (drawn[:, 1] < 0.001).all()
    else:
        assert drawn[:, 1].mean() == pytest.approx(0.15 / 1.15 / 3, abs=0.012)
        assert drawn[:, 1].max() == pytest.approx(0.15 / 1.15, abs=0.01)


TREE = TreeMoves(3, 2, 1.0)


def tree(**changes: Any) -> Observation:
    """Two skills count, 1.05 less accuracy being 0.25 and 0.75; the first is open, of the last one subskill."""
    seen = {"open": [1, 1, 0, 0, 1, 0], "allocation": [0.0] * 6, "target": TARGET, "accuracy": [0.8, 0.5, 0.3]}
    return observed(**{**seen, **changes})


@pytest.mark.parametrize(("candidate", "weights"), [(0, [1, 3]), (1, [1, 1]), (2, [1, 9])])
def test_moves_by_target_and_what_is_missing(candidate: int, weights: list[float]) -> None:
    """Over what is open; what counts and is not open is opened."""
    moves = chosen("tree_lookahead", TREE, tree(), candidate).reshape(3, 3)
    first, last = np.array(weights) / sum(weights)
    assert moves[:, 0].tolist() == [-1, -1, 1]
    assert moves[:, 1:].ravel() == pytest.approx([first / 2, first / 2, 0, 0, last, 0], abs=1e-5)


def test_nothing_is_given_to_subskills_that_are_taught_wrongly() -> None:
    """Neither practice, nor another look where only such are closed; the other student's are in the reverse order."""
    faulty = np.array([[1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]], dtype=bool)
    moves = chosen("tree_lookahead", TREE, tree(), 0, faulty=faulty).reshape(3, 3)
    assert moves.ravel() == pytest.approx([-1, 0, 0.25, -1, 0, 0, -1, 0.75, 0], abs=1e-5)


@pytest.mark.parametrize("candidate", range(3, 8))
def test_other_moves_vary_by_skill_or_subskill_and_some_open_others(candidate: int) -> None:
    """By turns; from the sixth on a seventh of the rest goes elsewhere, and what gets more than 0.3 of that is opened."""
    moves = many("tree_lookahead", TREE, tree(open=[1, 1, 1, 0, 1, 1]), candidate).reshape(MANY, 3, 3)
    explored, wanted = moves[:, :, 0] > 0, moves[:, :, 1:]
    assert wanted.sum((1, 2)) == pytest.approx(1, abs=1e-5)
    ratio = np.log(wanted[:, 2].sum(1) / wanted[:, 0].sum(1))
    within = np.log(wanted[:, 0, 0] / wanted[:, 0, 1])
    assert (np.abs(within) < 1e-5).all() == (candidate % 2 == 1)
    if candidate < 5:
        assert not wanted[:, 1].any() and not explored.any()
        assert ratio.mean() == pytest.approx(np.log(3), abs=0.15)
        each = 0.7 * 2**0.5
        assert (ratio if candidate % 2 else within).std() == pytest.approx(each, abs=0.1)
    else:
        assert wanted[:, 1, 0].max() == pytest.approx(0.15 / 1.15, abs=0.01) and not wanted[:, 1, 1].any()
        assert explored[:, 1].mean() == pytest.approx(0.39, abs=0.06)  # one of three Dirichlet(0.2) shares exceeds 0.3
        assert not explored[:, [0, 2]].any()  # nothing is left to open there


BIDS = Bids([[0, 1], [2]])


def classroom() -> Observation:
    """What subjects lack: 0.75 of 0.2 and 0.25 of 0.8 make 0.35 of the first; the second lacks 0.7."""
    skills = {"target": [0.375, 0.125, 0.5], "accuracy": [0.82, 0.22, 0.32], "loss": [1.0] * 3, "change": [0.0] * 3}
    sources = {"price": [1.0] * 3, "source_loss": [1.0] * 3, "source_loss_mean": [1.0] * 3, "source_spend": [0.0] * 3}
    teachers = {"gain": [0.0] * 2, "purse": [1.0] * 2, "bid": [0.0] * 2, "share": [0.5] * 2, "budget": 1}
    return observed(**skills, **sources, **teachers)


def bids(action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Credits of both teachers, and how the first splits its time."""
    moves = action.reshape(*action.shape[:-1], 2, 3)
    return (moves[..., 0] + 1) ** 2, Shares(2).decode(moves[..., 0, 1:])


@pytest.mark.parametrize(
    ("candidate", "credits", "plan"),
    [(0, [0.5, 1], [0.15, 0.2]), (1, [1, 1], [0.15, 0.2]), (2, [1, 1], [0.75, 0.25])],
)
def test_timetables_by_goals_and_what_is_missing(candidate: int, credits: list[float], plan: list[float]) -> None:
    """The neediest bids the even pace, others in proportion."""
    found, split = bids(chosen("bid_planner", BIDS, classroom(), candidate))
    assert found == pytest.approx(credits, abs=1e-5)
    assert split == pytest.approx(np.array(plan) / sum(plan), rel=1e-4)


def test_a_timetable_buys_from_clean_sources_alone() -> None:
    """Bids are as without sources; kinds are those of the environment, of which 0 is clean."""
    space, seen = Bids([[0, 1], [2]], sources=2), classroom()
    doubled = {
        name: value.repeat(2, axis=1) if "source" in name or name == "price" else value for name, value in seen.items()
    }
    kind = np.array([[0, 1, 2, 0, 0, 2]] * 2)
    moves = chosen("bid_planner", space, doubled, 0, kind).reshape(2, space.entries)
    assert (moves[:, 0] + 1) ** 2 == pytest.approx([0.5, 1], abs=1e-5)
    assert Shares(4).decode(moves[0, 1:]) == pytest.approx(np.array([3, 0, 0, 4]) / 7, abs=1e-3)


@pytest.mark.parametrize("candidate", range(3, 10))
def test_other_timetables_vary_bids_and_later_ones_plans(candidate: int) -> None:
    """Logarithms vary by 1 for bids, and from the seventh on by 0.7 for plans, to which up to 0.05 of anything is added."""
    found, split = bids(many("bid_planner", BIDS, classroom(), candidate))
    assert found.max(1) == pytest.approx(1, abs=1e-5)
    ratio = np.log(found[:, 1] / found[:, 0])
    assert ratio.mean() == pytest.approx(np.log(2), abs=0.2) and ratio.std() == pytest.approx(2**0.5, abs=0.15)
    inside = np.log(split[:, 1] / split[:, 0])
    if candidate < 6:
        assert np.allclose(inside, np.log(4 / 3), atol=1e-4)
    else:
        assert inside.mean() == pytest.approx(np.log(0.225 / 0.175), abs=0.12)
        assert inside.std() == pytest.approx(0.7 * 2**0.5, abs=0.2)


def test_a_tree_of_which_nothing_is_open() -> None:
    """Where nothing is open yet there is nothing to practise; what counts is opened."""
    moves = chosen("tree_lookahead", TREE, tree(open=[0] * 6), 0).reshape(3, 3)
    assert moves.tolist() == [[1, 0, 0], [-1, 0, 0], [1, 0, 0]]


CHOICES = {"fraction": (), "which": WHICH, "kind": KINDS, "length": (), "shaping": SHAPINGS, "weight": ()}
FEEDBACK, TUTORING = MixedBox(CHOICES), TutoringMoves(2, CHOICES)


def followed(name: str, space: Any, rule: int) -> tuple[list[float], dict[str, float]]:
    """What the first student's action asks and decides, where this rule's copies end at the highest accuracy."""

    class Lesson:
        def step(self, moves: np.ndarray) -> tuple[Any, ...]:
            best = np.arange(len(moves)) % 5 == rule
            return {"accuracy": np.stack([best, 0.5 * best], axis=1)}, None, np.ones(len(moves), dtype=bool), None, None

    agent: Any = agent_class(name)(None, space)
    agent.attach(SimpleNamespace(branch=lambda k: Lesson()))
    agent.reset(observed())
    found = space.decisions(acts(agent, space, observed()), ("sum", "product"))
    asked = [float(value[0]) for decision, value in found.items() if decision.startswith("ask")]
    return asked, {decision: float(value[0]) for decision, value in found.items()}


FIRST_STEP, TO_THE_END = ("wrong", "next_step", 0), ("wrong", "next_step", 1)
SAID: list[tuple[int, float, Any]] = [
    (0, 0, None),
    (1, 0.25, FIRST_STEP),
    (2, 0.25, TO_THE_END),
    (3, 0.25, ("stuck", "next_step", 1)),
    (4, 0.5, ("wrong", "full_solution", 0)),
]
ASKED = [(0, 0, 0, None), (1, 0.25, 0.25, TO_THE_END), (2, 0.5, 0.25, TO_THE_END), (3, 1, 0.25, TO_THE_END)]


@pytest.mark.parametrize(("rule", "fraction", "said"), SAID)
def test_rules_of_feedback(rule: int, fraction: float, said: Any) -> None:
    _, found = followed("feedback_lookahead", FEEDBACK, rule)
    check_said(found, fraction, said)


@pytest.mark.parametrize(("rule", "ask", "fraction", "said"), [*ASKED, (4, 1, 0.5, TO_THE_END)])
def test_rules_of_tutoring(rule: int, ask: float, fraction: float, said: Any) -> None:
    asked, found = followed("tutoring_lookahead", TUTORING, rule)
    assert asked == [ask, ask]
    check_said(found, fraction, said)


def check_said(found: dict[str, float], fraction: float, said: Any) -> None:
    assert found["fraction"] == fraction
    if said is not None:
        which, kind, length = said
        assert (found[f"which: {which}"], found[f"kind: {kind}"], found["length"]) == (1, 1, length)
        assert (found["shaping: plain"], found["weight"]) == (1, 1)
