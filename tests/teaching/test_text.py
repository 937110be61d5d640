"""What a teacher sees and decides, in words: short on every id, and every decision that can be said is an action."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, MultiDiscrete
from hypothesis import given
from hypothesis import strategies as st

from kdgym.envs.classroom.bids import Bids
from kdgym.envs.datagen.tree_moves import TreeMoves
from kdgym.envs.feedback.tutoring_moves import TutoringMoves
from kdgym.envs.snapshot.moves import SnapshotMoves
from kdgym.registration import ENVIRONMENTS
from kdgym.spaces import Dial, Dials, JsonText, MixedBox, Parameter, Shares
from kdgym.teaching.text import TextInterface, filled, text_interface

SKILLS = [{"name": name, "description": f"About {name}."} for name in ("add", "sub", "mul")]
SEEN = Dict({"accuracy": Box(0, 1, (3,)), "target": Box(0, 1, (3,)), "price": Box(0, 2, (6,)), "time": Box(0, 1, (1,))})
CHOICES = {"fraction": (), "kind": ("mark", "full")}
DIALS = Dials([Dial("ce", "given labels", 0, 10, 1, "log", least=0.03), Dial("ema", "", 0, 0.999, 0.5, "memory"),
               Dial("mix", "", -2, 2), Dial("teacher", "whom to trust", scale="shares", members=3)])  # fmt: skip
SPACES: dict[str, Any] = {
    "shares": Shares(6),
    "one source": Shares(3),
    "tree": TreeMoves(3, 4, largest=8),
    "choices": MixedBox(CHOICES),
    "tutoring": TutoringMoves(3, CHOICES),
    "snapshots": SnapshotMoves(3, limit=500),
    "bids": Bids([[0, 2], [1]], sources=2),
    "dials": DIALS,
}
OPEN = JsonText(2**20, "draw")
ERRORS: list[dict[str, Any]] = [
    {"problem": f"{n} + {n}", "given": "0", "right": f"{2 * n}", "engine": "AB"[n % 2], "engine_answer": "7"}
    for n in range(1, 6)
]
# Slow to make, or in need of a language model; their spaces are those of others.
REGISTERED = [entry for entry in ENVIRONMENTS if not entry.needs_model and "Hopper" not in entry.id]
TWICE = ("Code-OpenEnded", "VQA-OpenEnded", "Reasoning-OpenEnded")  # whose single errors are long


def interface(name: str) -> TextInterface:
    return text_interface(SEEN, SPACES[name], {"skills": SKILLS})


def told(**more: Any) -> str:
    return json.dumps({"score": 0.25, "items": 64, "engines": ["A", "B"], "errors": ERRORS, **more})


def writer(characters: int = 200, **more: Any) -> TextInterface:
    made = text_interface(OPEN, OPEN, {}, characters)
    made.tell(told(**more))
    return made


def values(one: Parameter) -> st.SearchStrategy[Any]:
    if one.kind == "option":
        return st.sampled_from(one.options)
    if one.kind == "flag":
        return st.booleans()
    number = st.floats(0.001, 100) if one.kind == "weight" else st.floats(one.low, one.high)
    return st.one_of(number, st.lists(number, min_size=one.parts, max_size=one.parts)) if one.parts else number


def assert_said_again(one: Any, action: Any) -> None:
    """What an action is written as decides the same, and is written so again; shares may have other entries of one meaning."""
    space = one.action_space
    again = one.read(json.loads(json.dumps(one.write(action))))
    assert space.contains(action) and space.contains(again)
    before, after = (space.decisions(each, one.skills) for each in (action, again))
    for name, value in before.items():
        decided = value > 0.5 if name == "end" else value  # a number that stands for yes or no
        np.testing.assert_allclose(after[name], decided, rtol=5e-3, atol=2e-3)
    np.testing.assert_allclose(one.read(one.write(again)), again, atol=5e-3)


@pytest.mark.parametrize("name", SPACES)
@given(st.data())
def test_every_decision_is_an_action_that_says_the_same(name: str, data: st.DataObject) -> None:
    one: Any = interface(name)
    chosen = data.draw(st.lists(st.sampled_from(one.parameters), unique=True))
    decided = {parameter.name.replace(" ", "_"): data.draw(values(parameter)) for parameter in chosen}
    assert set(decided) <= set(one.schema["properties"])
    action = one.read(json.loads(json.dumps(decided)))
    assert_said_again(one, action)


@pytest.mark.parametrize("name", SPACES)
@given(st.integers(0, 2**32 - 1))
def test_every_action_can_be_said(name: str, seed: int) -> None:
    one: Any = interface(name)
    one.action_space.seed(seed)
    assert_said_again(one, one.action_space.sample())


@pytest.mark.parametrize("name", SPACES)
def test_what_favours_nothing_is_an_empty_object(name: str) -> None:
    one = interface(name)
    assert one.write(one.neutral) == {}
    np.testing.assert_array_equal(one.read("{}"), one.neutral)
    assert one.tool["function"]["parameters"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("shares", '{"ad": 1}', "no decision 'ad'; there are add, sub, mul"),
        ("shares", '{"add": [1]}', "add has 2 parts; a list of 1 was given"),
        ("shares", '{"add": "much"}', "add is 'much'; give 0 or more"),
        ("shares", "[1, 2]", r"The decision is \[1, 2\]; give an object of add, sub, mul"),
        ("shares", "{add: 1}", "is no JSON .* Give an object of add, sub, mul"),
        ("shares", "[" * 100_000, "is no JSON"),
        ("shares", "add.3=1", "'add.3' is no part of add; it has 2"),
        ("tree", '{"explore_add": 2}', "explore add is 2; give 0 or 1"),
        ("choices", '{"kind": "loud"}', "kind is 'loud'; choose from mark, full"),
        ("choices", '{"kind": ["mark"]}', "choose from mark, full"),
        ("dials", '{"ce": 11}', "ce is 11; give 0 to 10"),
        ("dials", '{"ce": null}', "ce is None; give 0 to 10"),
        ("dials", '{"teacher": [0, 0, 0]}', "not all zero"),
    ],
)
def test_what_is_no_decision_is_answered(name: str, said: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interface(name).read(said)


def test_a_space_without_names_takes_numbers() -> None:
    one = text_interface(SEEN, MultiDiscrete([2, 5]))
    assert one.read('{"action": [1, 4]}').tolist() == one.read("1 4").tolist() == [1, 4]
    assert one.write(np.array([1, 4])) == {"action": [1, 4]}
    for said, message in [("1", "1 numbers were given; 2 of"), ("1 7", "out of range"), ("{}", "{} was given")]:
        with pytest.raises(ValueError, match=message):
            one.read(said)


# --- what is told ----------------------------------------------------------------------------------------------------


def test_only_what_changed_is_told_by_its_name() -> None:
    one = interface("shares")
    seen = {
        "accuracy": np.array([0.25, 0, 0.5]),
        "target": np.array([1, 0, 0]),
        "price": np.ones(6),
        "time": np.ones(1),
    }
    assert "price add.1 1, add.2 1, sub.1 1" in one.tell(seen)
    assert one.tell(seen) == ""
    assert one.tell({**seen, "accuracy": np.array([0.251, 0, 0.75])}) == "accuracy mul 0.75"
    assert "accuracy add 0.25, mul 0.5" in one.tell(seen, whole=True)


def test_where_there_is_little_room_the_target_comes_first_and_the_rest_later() -> None:
    one = text_interface(SEEN, Shares(3), {"skills": SKILLS}, characters=20)
    seen = {"accuracy": np.zeros(3), "target": np.array([0, 1, 0]), "price": np.zeros(6), "time": np.ones(1)}
    one.tell(seen)
    after = {**seen, "accuracy": np.array([0.9, 0.4, 0.0])}
    assert [one.tell(after) for _ in range(3)] == ["accuracy sub 0.4", "accuracy add 0.9", ""]


def test_errors_are_numbered_and_an_order_names_error_and_engine() -> None:
    one = writer()
    order = {
        "orders": [{"items": 3, "error": 2, "engine": "B"}, {"items": 1}],
        "written": [{"problem": "x", "answer": "y"}],
    }
    action = one.read(json.dumps(order))
    assert json.loads(action) == [
        {"draw": 3, "like": "2 + 2", "engine": "B"}, {"draw": 1}, {"problem": "x", "answer": "y"},
    ]  # fmt: skip
    assert json.loads(one.read(one.write(action))) == json.loads(action)
    assert json.loads(one.read("3 like 2 from B, 1")) == json.loads(action)[:2]
    assert one.read('[{"draw": 3}]') == '[{"draw": 3}]' and one.read("") == "[]"
    assert one.neutral == '[{"draw": 64}]'


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('{"orders": [{"items": 3, "error": 6}]}', r"orders.0.error is 6: .* Errors are numbered from 1 to 5"),
        ('{"orders": [{"items": 3, "engine": "Z"}]}', r"orders.0.engine is 'Z': Input should be 'A' or 'B'"),
        ('{"orders": [{"items": 0}]}', "orders.0.items is 0: Input should be greater than or equal to 1"),
        ('{"written": [{"problem": "x"}]}', r"written.0.answer is .*Field required"),
        ('{"buy": 3}', "buy is 3: Extra inputs are not permitted"),
        ("5 like 9", "numbered from 1 to 5"),
        ("many", "'many' is neither JSON nor a number of items"),
    ],
)
def test_what_is_no_lesson_is_answered(said: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        writer().read(said)


@given(st.data())
def test_every_lesson_that_the_tool_allows_is_one(data: st.DataObject) -> None:
    one = writer()
    order = st.fixed_dictionaries(
        {"items": st.integers(1, 99)}, optional={"error": st.integers(1, 5), "engine": st.sampled_from("AB")}
    )
    item = st.fixed_dictionaries({"problem": st.text("abc 1+"), "answer": st.text("abc")})
    arguments = data.draw(
        st.fixed_dictionaries(
            {},
            optional={
                "orders": st.lists(order, min_size=1, max_size=8),
                "written": st.lists(item, min_size=1, max_size=8),
            },
        )
    )
    assert one.write(one.read(arguments)) == arguments


def test_errors_that_were_not_told_cannot_be_ordered() -> None:
    one = writer(characters=20)
    with pytest.raises(ValueError, match="Errors are numbered from 1 to 1"):
        one.read({"orders": [{"items": 1, "error": 2}]})
    with pytest.raises(ValueError, match="was not told"):
        one.write('[{"draw": 1, "like": "5 + 5"}]')


def test_pictures_are_written_as_pictures() -> None:
    cells = [{"digit": 3}, None, None, None, None, None]
    one = writer(errors=[{"problem": {"cells": cells, "question": "How many?"}, "given": "2", "right": "1"}])
    item = {"problem": {"cells": cells, "question": "Which?"}, "answer": "A"}
    assert json.loads(one.read({"written": [item]})) == [item]
    with pytest.raises(ValueError, match=r"written.0.problem is 'x'"):
        one.read({"written": [{"problem": "x", "answer": "A"}]})


def test_what_is_left_of_the_money_goes_to_the_last_order() -> None:
    last = {"draw": 2, "engine": "B"}
    assert json.loads(filled([{"draw": 1}, last], 10)) == [{"draw": 1}, last, {"draw": 7, "engine": "B"}]
    assert json.loads(filled([{"problem": "x", "answer": "y"}], 3)) == [{"problem": "x", "answer": "y"}, {"draw": 2}]
    assert json.loads(filled([{"draw": 9}, last], 4)) == [{"draw": 4}]


# --- on every id -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("entry", REGISTERED, ids=lambda entry: entry.id)
@pytest.mark.parametrize("random", [False, True])
def test_a_whole_episode_is_told_in_few_words(entry: Any, random: bool) -> None:
    envs: Any = gym.make_vec(entry.id, num_envs=1, autoreset=False).unwrapped
    observation, _ = envs.reset(seed=3)
    one = text_interface(envs.single_observation_space, envs.single_action_space, envs.metadata)
    words, done = [], False
    while not done:
        words.append(one.tell(envs.row(observation, 0)))
        text = isinstance(envs.single_action_space, JsonText)
        action = one.neutral if text or not random else one.read(one.write(envs.single_action_space.sample()))
        observation, _, terminated, truncated, info = envs.step([action] if text else action[None])
        assert not text or info["items/explained"] == [""]
        done = bool((terminated | truncated)[0])
    most = 8_000 if any(name in entry.id for name in TWICE) else 4_000 if "DataGen-Math" in entry.id else 4_500
    assert len(one.instructions) + sum(map(len, words)) <= most
    assert len(json.dumps(one.tool)) < 6_000
