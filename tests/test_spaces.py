"""Shares of a budget as points of a box."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, Text, Tuple
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kdgym.envs.classroom.bids import Bids
from kdgym.envs.datagen.tree_moves import TreeChoices, TreeMoves
from kdgym.envs.feedback.tutoring_moves import TutoringMoves
from kdgym.envs.snapshot.moves import SnapshotMoves
from kdgym.spaces import JsonText, MixedBox, PlainSpace, Shares, space_from_plain, space_to_plain

TEMPERATURE = 4.0
SCALES = st.floats(1e-6, 1e6)
REACHABLE = st.lists(st.floats(-2 * TEMPERATURE, 0), min_size=1, max_size=20).map(np.exp)


@given(REACHABLE, SCALES)
def test_weights_come_back_as_shares(weights: np.ndarray, scale: float) -> None:
    space = Shares(len(weights), TEMPERATURE)
    weights /= weights.max() / scale
    np.testing.assert_allclose(space.decode(space.encode(weights)), weights / weights.sum(), rtol=1e-5)


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=20).filter(any))
def test_every_encoded_action_is_in_the_space(weights: list[float]) -> None:
    space = Shares(len(weights))
    assert space.contains(space.encode(weights))


@given(arrays(np.float32, array_shapes(max_dims=3, max_side=6), elements=st.floats(-1, 1, width=32)))
def test_shares_are_non_negative_and_sum_to_one(action: np.ndarray) -> None:
    shares = Shares(action.shape[-1]).decode(action)
    assert shares.shape == action.shape
    assert (shares > 0).all()
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 14])
def test_the_zero_action_is_the_uniform_split(n: int) -> None:
    np.testing.assert_allclose(Shares(n).decode(np.zeros(n)), np.full(n, 1 / n))


def test_shares_are_the_softmax_of_the_scaled_action() -> None:
    shares = Shares(2, temperature=3.0).decode([0.5, -0.25])
    assert shares[0] / shares[1] == pytest.approx(math.exp(3 * 0.75))


def test_the_largest_ratio_is_that_of_opposite_ends() -> None:
    shares = Shares(2, temperature=2.5).decode([1, -1])
    assert shares[0] / shares[1] == pytest.approx(math.exp(5.0))


def test_a_zero_weight_gets_the_smallest_share() -> None:
    space = Shares(3)
    assert space.encode([0, 1, 2])[0] == -1


def test_order_of_weights_is_kept() -> None:
    shares = Shares(4).decode(Shares(4).encode([3, 0, 2, 5]))
    assert list(np.argsort(shares)) == [1, 2, 0, 3]


def test_a_batch_is_encoded_row_by_row() -> None:
    space, weights = Shares(3), np.array([[1, 2, 3], [5, 0, 1]])
    np.testing.assert_array_equal(space.encode(weights), np.stack([space.encode(row) for row in weights]))


@pytest.mark.parametrize(
    "weights",
    [
        [1, -1, 1],
        [1, np.nan, 1],
        [1, np.inf, 1],
        [1, -np.inf, 1],
        [0, 0, 0],
        [[1, 1, 1], [0, 0, 0]],
    ],
)
def test_bad_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="Weights must be finite, non-negative and not all zero"):
        Shares(3).encode(weights)


@pytest.mark.parametrize("weights", [[1, 2], [1, 2, 3, 4], 1.0, [[1, 2]]])
def test_a_wrong_number_of_weights_is_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="one for every entry"):
        Shares(3).encode(weights)


def test_it_is_a_plain_box_to_gymnasium() -> None:
    space = Shares(5)
    assert isinstance(space, Box)
    assert space.shape == (5,) and space.dtype == np.float32
    assert (space.low == -1).all() and (space.high == 1).all()


def test_gymnasium_can_batch_it() -> None:
    batched = batch_space(Shares(5), 3)
    assert batched.shape == (3, 5)
    assert batched.contains(batched.sample())


def test_equal_seeds_sample_equal_actions() -> None:
    np.testing.assert_array_equal(Shares(5, seed=3).sample(), Shares(5, seed=3).sample())
    assert not np.array_equal(Shares(5, seed=3).sample(), Shares(5, seed=4).sample())


def test_a_copy_is_equal_and_decodes_alike() -> None:
    space = Shares(3, temperature=2.0)
    twin = copy.deepcopy(space)
    assert twin == space and twin.temperature == 2.0


def test_other_temperatures_and_sizes_are_other_spaces() -> None:
    assert Shares(3, 2.0) != Shares(3, 4.0)
    assert Shares(3) != Shares(4)


def test_it_says_what_it_is() -> None:
    assert repr(Shares(3, 2.0)) == "Shares(n=3, temperature=2.0)"


def feedback_moves() -> MixedBox:
    return MixedBox({"fraction": (), "kind": ("mark", "full"), "weight": ()})


def test_feedback_moves_encode_by_name() -> None:
    action = feedback_moves().encode(2, fraction=np.array([0.0, 0.5]), kind="full", weight=1)
    assert action.tolist() == [[-1, -1, 1, 1], [0, -1, 1, 1]]
    assert feedback_moves().encode(1, kind=[0]).tolist() == [[-1, 1, -1, -1]]


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ({"amount": 1}, "known: fraction, kind, weight"),
        ({"kind": "loud"}, "choose from mark, full"),
        ({"kind": 2}, "0 to 1"),
        ({"fraction": 1.5}, "0 to 1"),
        ({"fraction": float("nan")}, "0 to 1"),
    ],
)
def test_bad_feedback_moves_are_refused(decisions: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feedback_moves().encode(1, **decisions)


def said(decisions: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: np.round(values, 5).tolist() for name, values in decisions.items()}


def test_shares_are_told_by_skill() -> None:
    space = Shares(4)  # two skills of two sources
    action = space.encode([[1, 3, 2, 2], [4, 1, 1, 4]])
    assert said(space.decisions(action, ["add", "sub"])) == {"add": [0.5, 0.5], "sub": [0.5, 0.5]}
    assert space.decisions(np.stack([action] * 3), ["add", "sub"])["add"].shape == (3, 2)


def test_moves_of_a_tree_are_told_by_skill() -> None:
    space = TreeMoves(2, 2, largest=8)
    action = space.encode([[True, False]], wanted=[[0, 0, 4, 0]], allocation=[[0, 0, 0, 0]])
    told = said(space.decisions(action, ["add", "sub"]))
    assert told == {"explore add": [1], "explore sub": [0], "change add": [0], "change sub": [0.25]}


def test_feedback_is_told_by_option() -> None:
    space = feedback_moves()
    told = said(space.decisions(space.encode(2, fraction=0.25, kind=np.array(["mark", "full"])), []))
    assert told == {"fraction": [0.25] * 2, "kind: mark": [1, 0], "kind: full": [0, 1], "weight": [0] * 2}


def test_tutoring_is_told_by_skill_and_option() -> None:
    space = TutoringMoves(2, {"kind": ("mark", "full")})
    told = said(space.decisions(space.encode(1, ask=[[0.25, 1]], kind="full"), ["add", "sub"]))
    assert told == {"ask about add": [0.25], "ask about sub": [1], "kind: mark": [0], "kind: full": [1]}


def test_starts_of_practice_are_told_by_cluster() -> None:
    space = SnapshotMoves(2, limit=500)
    told = said(space.decisions(space.encode([[1, 3]], ordinary=0.5, horizon=50, end=True), []))
    assert told == {"cluster 0": [0.25], "cluster 1": [0.75], "ordinary": [0.5], "horizon": [0.5], "end": [1]}


def test_bids_are_told_by_teacher_and_skill() -> None:
    space = Bids([[0, 2], [1]], sources=1)
    told = said(space.decisions(space.encode([[1, 4]], [[[1, 3], [1, 0]]]), ["add", "sub", "mul"]))
    assert told == {"bid of teacher 0": [0.25], "add": [0.25], "mul": [0.75], "bid of teacher 1": [1], "sub": [1]}


WORDED: dict[str, tuple[Any, list[str], dict[str, Any]]] = {
    "shares": (Shares(6), ["a", "b", "c"], {"a": 0.25, "b": 0.75}),
    "tree": (TreeMoves(2, 3, largest=8), ["a", "b"], {"explore a": 1, "change b": -0.5}),
    "feedback": (feedback_moves(), [], {"fraction": 0.25, "kind": "full"}),
    "tutoring": (TutoringMoves(2, {"kind": ("mark", "full")}), ["a", "b"], {"ask about b": 0.75, "kind": "full"}),
    "snapshot": (SnapshotMoves(3, limit=500), [], {"cluster 0": 0.25, "cluster 2": 0.75, "ordinary": 0.5, "end": 1}),
    "bids": (Bids([[0, 2], [1]], sources=2), ["a", "b", "c"], {"bid of teacher 1": 1, "a": 0.25, "c": 0.75}),
}


@pytest.mark.parametrize("name", WORDED)
def test_what_is_composed_is_what_it_decides(name: str) -> None:
    space, skills, decided = WORDED[name]
    told = space.decisions(space.compose(decided, skills), skills)
    for what, value in decided.items():
        key, number = (f"{what}: {value}", 1) if isinstance(value, str) else (what, value)
        assert float(told[key]) == pytest.approx(number, abs=1e-3)  # a share is never 0
    neutral = space.compose({}, skills)
    assert neutral.shape == space.shape
    assert space.contains(neutral)


@pytest.mark.parametrize("name", WORDED)
def test_decisions_that_do_not_exist_are_answered_with_those_that_do(name: str) -> None:
    space, skills, decided = WORDED[name]
    with pytest.raises(ValueError, match=f"no decision 'loud'; there are .*{list(decided)[-1]}"):
        space.compose({"loud": 1}, skills)


@pytest.mark.parametrize(
    ("name", "decided", "message"),
    [
        ("shares", {"a": -1}, "a is -1; give 0 or more"),
        ("shares", {"a": 0}, "not all zero"),
        ("shares", {"a": [1, 2, 3]}, "a has 2 parts; a list of 3 was given"),
        ("tree", {"change a": 2}, "change a is 2; give -1 to 1"),
        ("tree", {"explore a": 0.5}, "explore a is 0.5; give 0 or 1"),
        ("feedback", {"fraction": float("nan")}, "fraction is nan; give 0 to 1"),
        ("feedback", {"kind": "loud"}, "kind is 'loud'; choose from mark, full"),
        ("tutoring", {"ask about a": 1.5}, "ask about a is 1.5; give 0 to 1"),
        ("snapshot", {"horizon": -1}, "horizon is -1; give 0 to 1"),
        ("bids", {"bid of teacher 0": 2}, "bid of teacher 0 is 2; give 0 to 1"),
    ],
)
def test_decisions_out_of_range_are_refused(name: str, decided: dict[str, Any], message: str) -> None:
    space, skills, _ = WORDED[name]
    with pytest.raises(ValueError, match=message):
        space.compose(decided, skills)


class Halves(PlainSpace, Box):
    """A space of another package: its argument is the wider end, and it keeps half of it."""

    def __init__(self, width: float) -> None:
        super().__init__(-width / 2, width / 2, (2,), np.float32)
        self.half = width / 2

    def to_plain(self) -> dict[str, Any]:
        return {"width": 2 * self.half}


SPACES: list[Space[Any]] = [
    *(space for space, *_ in WORDED.values()),
    Shares(5, temperature=2.0),
    TreeChoices(3),
    JsonText(100, "count"),
    Halves(3.0),
    Box(np.array([-np.inf, 0.1], np.float32), np.array([np.inf, 0.3], np.float32)),
    Box(0, 255, (2, 2), np.uint8),
    Dict({"b": Shares(2), "a": Dict({"c": Box(0, 1, (1,))})}),
    Discrete(3, start=1),
    MultiDiscrete([2, 5]),
    Text(5, min_length=2, charset="xyz"),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_a_space_is_made_again_from_what_it_writes_as_json(space: Space[Any]) -> None:
    twin = space_from_plain(json.loads(json.dumps(space_to_plain(space))))
    assert type(twin) is type(space) and twin == space
    for one in (space, twin):
        one.seed(3)
    assert str(space.sample()) == str(twin.sample())


def test_arguments_make_a_space_another_one() -> None:
    assert TreeMoves(2, 3, largest=8) != TreeMoves(2, 3, largest=4)
    assert Bids([[0, 2], [1]]) != Bids([[0, 1], [2]])
    assert Shares(2) == Box(-1, 1, (2,)) and Shares(2) != Box(0, 1, (2,))


def test_only_spaces_are_made_from_names() -> None:
    for name in ("subprocess:run", "kdgym.spaces:Box", "kdgym.spaces:Nothing", "Tuple", "json"):
        with pytest.raises(ValueError, match="derive from PlainSpace"):
            space_from_plain({"space": name, "arguments": {}})
    with pytest.raises(ValueError, match=r"cannot be written as data. Use Box, .* or derive Tuple from PlainSpace"):
        space_to_plain(Tuple([Shares(2)]))
