"""What a caller may give a population: bounds are allowed, what is past them is refused with what is allowed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from kdgym.core.validation import checked_actions, checked_choices, checked_options, checked_seeds

BOX, CHOICES = spaces.Box(-1, 2, (3,)), spaces.MultiDiscrete([2, 5])


def test_actions_within_the_bounds_are_taken_as_float32() -> None:
    given = checked_actions([[-1, 0, 2], [2, 2, -1]], 2, BOX)
    assert given.dtype == np.float32 and given.tolist() == [[-1, 0, 2], [2, 2, -1]]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([[0, 0, 0]], "The actions have shape (1, 3); this population takes (2, 3)."),
        ([[0, 0], [0, 0]], "The actions have shape (2, 2); this population takes (2, 3)."),
        ([["a", "b", "c"]] * 2, "The actions have dtype <U1; give real numbers."),
        (np.zeros((2, 3), complex), "The actions have dtype complex128; give real numbers."),
        ([[0, 0, 0], [0, np.nan, 0]], "The action of student 1 is not finite (NaN or inf)."),
        ([[0, 0, np.inf], [0, np.nan, 0]], "The action of student 0 is not finite (NaN or inf)."),
        ([[0, 0, 0], [2.1, 0, 0]], "student 1 leaves the action space: its entries run from 0 to 2.1, and -1 to 2 is allowed"),
        ([[0, 1, -1.5], [9, 0, 0]], "student 0 leaves the action space: its entries run from -1.5 to 1, and -1 to 2 is"),
    ],
)  # fmt: skip
def test_other_actions_are_refused(actions: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_actions(actions, 2, BOX)


def test_choices_within_the_bounds_are_taken_as_int64() -> None:
    given = checked_choices(np.array([[0, 4], [1, 0]], dtype=np.int8), 2, CHOICES)
    assert given.dtype == np.int64 and given.tolist() == [[0, 4], [1, 0]]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([[0, 0]], "The actions are int64 of shape (1, 2); give integers of shape (2, 2)."),
        ([[0.0, 0.0]] * 2, "The actions are float64 of shape (2, 2); give integers of shape (2, 2)."),
        ([[0, 0], [2, 0]], "Choice 0 of student 1 is 2; 0 to 1 is allowed."),
        ([[0, 5], [2, 0]], "Choice 1 of student 0 is 5; 0 to 4 is allowed."),
        ([[0, 0], [0, -1]], "Choice 1 of student 1 is -1; 0 to 4 is allowed."),
    ],
)
def test_other_choices_are_refused(choices: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_choices(choices, 2, CHOICES)


@pytest.mark.parametrize(
    ("options", "started", "mask", "restart"),
    [
        (None, False, [True, True], "base"),
        ({}, True, [True, True], "base"),
        ({"restart": "base"}, False, [True, True], "base"),
        ({"restart": "continue"}, True, [True, True], "continue"),
        ({"reset_mask": np.array([False, True])}, True, [False, True], "base"),
        ({"reset_mask": np.array([True, True])}, False, [True, True], "base"),
    ],
)
def test_options_of_a_reset(options: Any, started: bool, mask: list[bool], restart: str) -> None:
    found, how = checked_options(options, 2, started)
    assert found.dtype == bool and found.tolist() == mask and how == restart


@pytest.mark.parametrize(
    ("options", "started", "message"),
    [
        ({"seed": 1}, True, "Unknown reset options {'seed': 1}"),
        ({"restart": "anew"}, True, "Unknown reset options 'anew'"),
        ({"restart": "continue"}, False, "the first reset has to use 'base'"),
        ({"reset_mask": np.array([False, False])}, True, "a bool array of shape (2,) with a True in it"),
        ({"reset_mask": np.array([1, 1])}, True, "a bool array of shape (2,) with a True in it"),
        ({"reset_mask": np.array([True])}, True, "a bool array of shape (2,) with a True in it"),
        ({"reset_mask": np.array([True, False])}, False, "The first reset has to reset every student"),
    ],
)
def test_other_options_are_refused(options: Any, started: bool, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        checked_options(options, 2, started)


def test_options_are_left_as_they_were_given() -> None:
    options = {"restart": "continue"}
    checked_options(options, 2, True)
    assert options == {"restart": "continue"}


def test_seeds_follow_one_another_or_are_given_or_drawn() -> None:
    rng = np.random.default_rng(0)
    assert checked_seeds(5, 3, rng) == [5, 6, 7]
    assert checked_seeds(np.int64(0), 2, rng) == [0, 1]
    assert checked_seeds(2**62 - 1, 1, rng) == [2**62 - 1]
    first, middle, last = checked_seeds([4, None, 9], 3, rng)
    assert (first, last) == (4, 9) and middle not in (5, 9)
    drawn = checked_seeds(None, 2000, rng)
    assert drawn == [int(seed) for seed in drawn] and len(set(drawn)) == 2000
    assert 0 <= min(drawn) < 2**22 and 2**31 - 2**22 < max(drawn) < 2**31
    some = [seed for seed in checked_seeds([None] * 2000 + [0], 2001, rng) if seed]
    assert min(some) < 2**22 and 2**31 - 2**22 < max(some) < 2**31
    assert checked_seeds(None, 4, np.random.default_rng(1)) == checked_seeds(None, 4, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ([1, 2], "2 seeds were given for 3 students"),
        (-1, "got -1 to 1"),
        (2**62 - 2, f"got {2**62 - 2} to {2**62}"),
        ([0, 1, 2**62], f"got 0 to {2**62}"),
    ],
)
def test_other_seeds_are_refused(seed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_seeds(seed, 3, np.random.default_rng(0))
