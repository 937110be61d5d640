"""Frames from a hostile process: what is read is data of the action space's kind, or a ValueError."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space, Text
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdgym.leaderboard.sandbox.wire import HEAD, checked_answer, longest, pack, unpack
from kdgym.spaces import JsonText, Shares

SPACES = [
    Shares(3),
    Box(-1, 1, (2, 2)),
    Box(0, 1, ()),
    MultiDiscrete([3, 4]),
    Discrete(5),
    Text(20),
    JsonText(20, "draw"),
]
any_text = st.text(st.characters(exclude_categories=()), max_size=30)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.integers(2**62, 2**70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=12,
)
ARRAYS = st.fixed_dictionaries(
    {
        "array": st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()) | plain,
        "shape": st.lists(st.integers(-1, 4) | st.integers(2**29, 2**65) | st.booleans() | plain, max_size=9) | plain,
        "type": st.sampled_from(["float32", "float64", "int64", "bool", "object", "U9", "datetime64"]) | plain,
    }
)


def is_action(answer: Any, space: Space[Any], students: int) -> bool:
    if isinstance(space, Text):
        return (
            type(answer) is list
            and len(answer) == students
            and all(
                type(text) is str and len(text) <= space.max_length and bool(text.encode() or True) for text in answer
            )
        )
    right = (
        type(answer) is np.ndarray and answer.dtype.kind in "fib" and answer.shape == (students, *(space.shape or ()))
    )
    return right and bool(np.isfinite(answer).all())


@given(
    st.binary()
    | plain.map(lambda value: json.dumps(value).encode())
    | ARRAYS.map(lambda value: json.dumps(value).encode())
)
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"[" * 900 + b"]" * 900)
@example(b"1" * 5000)
@example("[]".encode("utf-16"))
@example(b'{"array": "AACAPw==", "shape": [true], "type": "float32"}')
@example(b'{"array": "", "shape": [0, 4611686018427387904, 8], "type": "float32"}')
@example(b'{"array": "", "shape": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "type": "bool"}')
@example(b'{"array": "AA==", "shape": [1], "type": {"array": "AA==", "shape": [1], "type": "bool"}}')
def test_any_frame_is_an_action_or_a_value_error(frame: bytes) -> None:
    for space in SPACES:
        try:
            answer = checked_answer(unpack(frame), space, 2)
        except ValueError as error:
            words = str(error)
        else:
            words = ""
            assert is_action(answer, space, 2)
        assert len(words) < 500


@given(plain)
@example(["a", "\ud800"])
@example(["a", "x" * 21])
@example(["a", 5])
@example([[10**400] * 3] * 2)
@example([[2**63] * 3] * 2)
@example([float("inf")] * 2)
@example([[True, 0, 1]] * 2)
def test_any_plain_value_is_an_action_or_a_value_error(value: Any) -> None:
    for space in SPACES:
        try:
            answer = checked_answer(value, space, 2)
        except ValueError as error:
            words = str(error)
        else:
            words = ""
            assert is_action(answer, space, 2)
        assert len(words) < 500


@given(hnp.arrays(st.sampled_from(["f4", "f8", "i4", "i8", "?"]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_arrive_as_they_were_sent(array: Any) -> None:
    arrived = unpack(pack({"done": array})[HEAD.size :])["done"]
    np.testing.assert_array_equal(arrived, array)
    assert arrived.dtype == array.dtype
    arrived[...] = 0  # it may be changed


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("students", [1, 64])
def test_every_action_of_a_space_is_let_through_unchanged(space: Space[Any], students: int) -> None:
    """As an array, and as lists; the longest texts, which take the most bytes, too."""
    space.seed(0)
    actions = [space.sample() for _ in range(students)]
    array = np.array(actions)
    forms: list[Any] = (
        [actions] if isinstance(space, Text) else [array, array.tolist(), [np.asarray(one) for one in array]]
    )
    if isinstance(space, Text):
        forms += [["\U0010ffff" * space.max_length] * students]
    for form in forms:
        frame = pack({"done": form})
        assert len(frame) - HEAD.size <= longest(space, students)
        answer = checked_answer(unpack(frame[HEAD.size :])["done"], space, students)
        np.testing.assert_array_equal(answer, form)
        assert isinstance(space, Text) or answer.dtype == np.asarray(form).dtype


def test_frames_are_as_long_as_their_space_needs() -> None:
    """So that reading one cannot take long: kilobytes of numbers, and of texts what fits into a few megabytes."""
    assert longest(Shares(56), 64) < 2**18
    assert longest(JsonText(2**20, "draw"), 1) < 2**24
    assert longest(JsonText(2**20, "draw"), 10**6) == longest(JsonText(2**20, "draw"), 64) == 2**24
    with pytest.raises(ValueError, match="21 characters; 20 are allowed"):
        checked_answer(["x" * 21], Text(20), 1)


def test_bytes_that_are_no_truth_values_become_some() -> None:
    content = base64.b64encode(bytes([0, 1, 2, 255])).decode()
    array = unpack(json.dumps({"array": content, "shape": [4], "type": "bool"}).encode())
    assert array.view(np.uint8).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    "frame",
    [
        b"{",
        b'{"array": "AAAA", "shape": [1e9], "type": "float32"}',
        b'{"array": "AAAA", "shape": [2], "type": "float32"}',
        b'{"array": "AAA", "shape": [2], "type": "float32"}',
        b'{"array": 5, "shape": [1], "type": "float32"}',
        b'{"array": "AAAA", "shape": [-1], "type": "float32"}',
        b'{"array": "AAAA", "shape": [1], "type": "object"}',
        b'{"array": "AAAA", "shape": [99999999999999999999], "type": "float32"}',
    ],
)
def test_frames_that_lie_are_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r"rray|Expecting"):
        unpack(frame)
