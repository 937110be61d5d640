"""Dials: what an entry means, there and back, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdgym.spaces import Dial, Dials, space_from_plain, space_to_plain

DIALS = Dials(
    (
        Dial("ce", "weight that can be off", 0, 10, 1, "log", least=0.03),
        Dial("forward", "weight that is off", 0, 10, 0, "log", least=0.03),
        Dial("temperature", "by ratios", 0.5, 8, 2, "log"),
        Dial("teacher", "shares", scale="shares", members=3),
        Dial("keep", "neutral at the end", 0.05, 1, 1, "log"),
        Dial("ema", "memory", 0, 0.999, 0.99, "memory"),
        Dial("mix", "evenly", 0, 1, 0.25),
    )
)
WIDTH = 9


def test_the_neutral_action_gives_the_neutral_values_bit_for_bit() -> None:
    values = DIALS.decode(torch.zeros(WIDTH))
    assert {name: value.tolist() for name, value in values.items()} == {
        "ce": 1, "forward": 0, "temperature": 2, "teacher": [1 / 3] * 3, "keep": 1, "ema": 0.99, "mix": 0.25,
    }  # fmt: skip
    assert not DIALS.encode(4).any()


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (1, {"ce": 10, "forward": 10, "temperature": 8, "keep": 1, "ema": 0.999, "mix": 1}),
        (-1, {"ce": 0, "forward": 0, "temperature": 0.5, "keep": 0.05, "ema": 0, "mix": 0}),
    ],
)
def test_the_ends_are_the_range(entry: float, wanted: dict[str, float]) -> None:
    values = DIALS.decode(torch.full((WIDTH,), float(entry)))
    assert {name: values[name].item() for name in wanted} == pytest.approx(wanted, abs=1e-6)


@given(hnp.arrays(np.float32, (5, WIDTH), elements=st.floats(-1, 1, width=32)))
def test_values_are_in_range_and_come_back(actions: np.ndarray) -> None:
    values = {name: value.numpy() for name, value in DIALS.decode(torch.from_numpy(actions)).items()}
    for dial in DIALS.dials:
        assert (values[dial.name] >= dial.low - 1e-9).all()
        assert (values[dial.name] <= dial.high * (1 + 1e-6)).all()
    inside = {d.name: np.clip(values[d.name], d.low, d.high) for d in DIALS.dials}
    again = DIALS.decode(torch.from_numpy(DIALS.encode(**inside)))
    for name, value in again.items():
        np.testing.assert_allclose(value.numpy(), values[name], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ce", "forward", "temperature", "keep", "ema", "mix"])
def test_a_larger_entry_is_never_a_smaller_value(name: str) -> None:
    entries = torch.linspace(-1, 1, 201).unsqueeze(1).expand(-1, WIDTH)
    assert (DIALS.decode(entries)[name].diff() >= 0).all()


def test_a_weight_that_is_not_0_stays_so() -> None:
    found = DIALS.decode(torch.from_numpy(DIALS.encode(ce=np.array([0, 0.03]), forward=np.array([0, 0.03]))))
    assert found["ce"].tolist() == pytest.approx([0, 0.03], rel=1e-4)
    assert found["forward"].tolist() == pytest.approx([0, 0.03], rel=1e-3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cee": 1}, "no dial cee"),
        ({"ce": 11}, "ce is 11"),
        ({"ce": float("nan")}, "ce is"),
        ({"ce": "much"}, "ce is 'much'"),
        ({"teacher": [1, 2]}, "3 shares"),
        ({"teacher": [0, 0, 0]}, "not all zero"),
        ({"ce": [1, 2], "mix": [0, 1, 1]}, "different numbers of students"),
    ],
)
def test_bad_values_are_refused_in_a_sentence(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DIALS.encode(**values)


def test_named_values_and_plain_data_come_back() -> None:
    action = DIALS.encode(ce=0.2, teacher=[0, 1, 3])
    assert set(DIALS.describe(action, ())) == {"ce", "teacher"}  # all others are neutral
    np.testing.assert_allclose(DIALS.compose(DIALS.describe(action, ()), ()), action, atol=1e-3)
    assert space_from_plain(json.loads(json.dumps(space_to_plain(DIALS)))) == DIALS


@pytest.mark.parametrize(
    "dial",
    [
        {"name": "two words"},
        {"name": "a", "low": 1, "high": 0},
        {"name": "a", "neutral": 2},
        {"name": "a", "scale": "log"},
        {"name": "a", "scale": "memory", "high": 1},
        {"name": "a", "scale": "shares"},
    ],
)
def test_impossible_dials_are_refused(dial: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="dial"):
        Dial(meaning="", **dial)  # type: ignore[arg-type]


def test_two_dials_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        Dials([Dial("a", ""), Dial("a", "")])


def test_a_weight_fades_to_its_least_value_and_is_off_below() -> None:
    found = DIALS.decode(torch.tensor([[entry] + [0.0] * (WIDTH - 1) for entry in (-1, -0.981, -0.98 + 1e-6, -0.49)]))
    assert found["ce"].tolist() == pytest.approx([0, 0, 0.03, 0.03**0.5], rel=1e-4)
