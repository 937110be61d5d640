"""Whatever a caller gives an environment: it works, or a sentence says what is wrong, and nothing has changed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kdgym  # noqa: F401  # registers the environments
from kdgym.envs.feedback.settings import FeedbackSettings
from kdgym.registration import ENVIRONMENTS
from kdgym.settings import Settings

pytestmark = pytest.mark.slow

COURSE = {"steps": 2, "validation_items": 2, "test_items": 2}
# One cheap id for each kind of action space: shares, texts, choices, sliders with choices, and starts.
IDS: dict[str, dict[str, Any]] = {
    "kdgym/DataGen-Math-v0": COURSE,
    "kdgym/DataGen-Math-OpenEnded-v0": COURSE,
    "kdgym/DataGen-Math-SkillTree-v0": {**COURSE, "actions": "discrete"},
    "kdgym/Classroom-Math-v0": COURSE,
    "kdgym/Snapshot-CartPole-v0": {"steps": 2, "updates": 1, "validation_starts": 2, "test_starts": 2},
    "kdgym/Orchestrate-Incidents-v0": {"tasks": 2},
}


@functools.cache
def population(id: str) -> Any:
    return gym.make_vec(id, num_envs=2, autoreset=False, **IDS[id])


@functools.cache
def single(id: str) -> Any:
    return gym.make(id, **IDS[id]).unwrapped


def allowed(call: Callable[[], Any]) -> bool:
    """Whether it works; otherwise an error that is documented, in a sentence that is kdgym's and not too long."""
    try:
        call()
    except (ValueError, TypeError) as error:
        said = str(error)
        assert said.rstrip().endswith((".", ")")) and len(said) < 3000, said
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        assert last is not None and last.tb_frame.f_globals["__name__"].startswith("kdgym."), said
        return False
    return True


ODD: list[Any] = [
    1.5, float("nan"), float("inf"), -1, 2**62, 10**30, True, "1", "", "\0", b"1", None, [], [None], [1.5, 2, 3], [[1]], {},
    {"a": 1},
    np.zeros((2, 2)), np.zeros(2), np.float64(1), np.array(0.5), torch.tensor(0.5), torch.zeros(2), object(), 1j, {1, 2},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20].replace("\0", "0"))
@pytest.mark.parametrize("id", IDS)
def test_odd_arguments_of_reset_change_nothing(id: str, odd: Any) -> None:
    envs, env = population(id), single(id)
    envs.reset(seed=3)
    env.reset(seed=3)
    before = [envs.state.rows(slice(None)), env.students.state.rows(slice(None))]
    calls: list[Callable[[], Any]] = [
        lambda: envs.reset(options={"restart": odd}) if odd is not None else envs.reset(options=5),  # type: ignore[arg-type]
        lambda: envs.reset(seed=[odd, odd, odd]),
    ]
    if odd is not None:
        calls += [lambda: envs.reset(seed=odd)]
        calls += [lambda: env.reset(seed=odd)] if not isinstance(odd, list) or odd != [None] else []
        calls += [lambda: envs.reset(options={"reset_mask": odd}), lambda: envs.branch(odd)]
        if not isinstance(odd, dict) or odd:
            calls += [lambda: envs.reset(options=odd), lambda: env.reset(options=odd)]
    assert not any(map(allowed, calls))
    after = [envs.state.rows(slice(None)), env.students.state.rows(slice(None))]
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, new, strict=True))


@pytest.mark.parametrize("seed", [5, np.int64(5), np.array(5), np.uint8(5)])
def test_every_kind_of_integer_is_a_seed(seed: Any) -> None:
    envs, env = population("kdgym/DataGen-Math-v0"), single("kdgym/DataGen-Math-v0")
    envs.reset(seed=seed)
    assert envs.state["seed"].tolist() == [5, 6]
    for seeds in ([5, 6], (5, 6), range(5, 7), np.array([5, 6]), np.array([5, 6], np.int32)):
        envs.reset(seed=seeds)
        assert envs.state["seed"].tolist() == [5, 6]
    env.reset(seed=seed)
    assert env.students.state["seed"].tolist() == [5] and env.np_random_seed == 5


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20].replace("\0", "0"))
@pytest.mark.parametrize("id", IDS)
def test_odd_arguments_of_a_population_are_refused(id: str, odd: Any) -> None:
    make = functools.partial(gym.make_vec, id, **IDS[id])
    calls: list[Callable[[], Any]] = [lambda: make(num_envs=odd)] if odd is not None else []
    if odd is not None:
        calls += [lambda: make(num_envs=1, max_episode_steps=odd), lambda: make(num_envs=1, render_mode=odd)]
    if not isinstance(odd, bool):
        calls += [lambda: make(num_envs=1, autoreset=odd)]
    assert not any(map(allowed, calls))


@pytest.mark.parametrize(
    "device", ["aaa", "", "cpu:7:7", "cuda:99", "meta", "hpu", "privateuseone", "lazy", "cpu\0", 3, None]
)
@pytest.mark.parametrize("id", [id for id in IDS if "Classroom" not in id])
def test_devices_that_are_not_there_are_refused(id: str, device: Any) -> None:
    assert not allowed(lambda: gym.make_vec(id, num_envs=1, **{**IDS[id], "device": device}))


def odd_actions(shape: tuple[int, ...]) -> list[Any]:
    zeros = np.zeros(shape or (2,))
    tensors = [torch.zeros(zeros.shape, requires_grad=True), torch.zeros(zeros.shape, device="meta")]
    arrays = [zeros * np.nan, zeros + np.inf, zeros + 1e30, zeros - 7, zeros[:1], zeros[..., None]]
    kinds = [zeros.astype(kind) for kind in ("U1", object, "M8[s]", complex)]
    lists: list[Any] = [[[1], [1, 2]], [object()] * 2, [b"[]"] * 2, [["[]"]] * 2]
    return [*ODD, *tensors, torch.zeros(zeros.shape).to_sparse(), *arrays, *kinds, *lists]


@pytest.mark.parametrize("id", IDS)
def test_odd_actions_are_refused_and_teach_nothing(id: str) -> None:
    envs, env = population(id), single(id)
    envs.reset(seed=0)
    env.reset(seed=0)
    before = envs.state.rows(slice(None))
    for action in odd_actions(envs.action_space.shape or ()):
        if getattr(action, "dtype", None) == "U1" and not envs.action_space.shape:
            continue  # texts are allowed there
        assert not allowed(lambda action=action: envs.step(action)), action  # type: ignore[misc]
    assert all(torch.equal(a, b) for a, b in zip(before, envs.state.rows(slice(None)), strict=True))
    for action in odd_actions(env.action_space.shape or ()):
        if not isinstance(action, str) and getattr(action, "dtype", None) != "U1":
            assert not allowed(lambda action=action: env.step(action)), action  # type: ignore[misc]


TEXTS = ["", "\0", "null", "NaN", "[1", "[" * 50_000, "[{}]", "x" * 10**6, "[1e999]", "{}"]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:12])
def test_odd_texts_are_lessons_of_nothing(text: str) -> None:
    """A language model may write anything; what is no lesson teaches nothing."""
    id = "kdgym/DataGen-Math-OpenEnded-v0"
    envs, env = population(id), single(id)
    envs.reset(seed=0)
    env.reset(seed=0)
    _, reward, *_ = envs.step([text, "[]"])
    assert np.isfinite(reward).all()
    env.step(text)


@pytest.mark.parametrize("text", ["\ud800", '["\udfff"]'], ids=ascii)
def test_half_characters_are_no_text(text: str) -> None:
    """Nothing can write them down, so an action has none."""
    envs = population("kdgym/DataGen-Math-OpenEnded-v0")
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        envs.step([text, "[]"])


@pytest.mark.parametrize(
    "settings",
    [
        {"student": "hf:x", "student_options": 5},
        {"radix": 10, "task_options": 5},
        {"student": {"a": 1}},
        {"task": ["x"]},
        {"device": "\0"},
        {"steps": 10**30},
    ],
    ids=str,
)
def test_settings_that_stand_for_others_are_refused_in_a_sentence(settings: dict[str, Any]) -> None:
    assert not allowed(lambda: FeedbackSettings.parse(settings))


NUMBERS = (
    st.integers(-3, 40) | st.sampled_from([10**6, 2**31, 2**62, 2**63, 10**30, -(10**30)]) | st.floats() | st.booleans()
)
VALUES = st.recursive(
    st.none()
    | NUMBERS
    | st.text(max_size=8)
    | st.sampled_from(["\0", "\ud800", "cpu", "Math", "a\0b", "../x", "uniform"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
    max_leaves=5,
)


def settings_of_families() -> list[type[Settings]]:
    for module in {entry.module for entry in ENVIRONMENTS}:
        import_module(module)
    found = [Settings]
    for kind in found:
        found += [below for below in kind.__subclasses__() if below not in found]
    return sorted((kind for kind in found if kind.__module__.startswith("kdgym.envs.")), key=lambda kind: kind.__name__)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", settings_of_families(), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_settings_are_parsed_or_refused_in_a_sentence(kind: type[Settings], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(kind.model_fields)) | st.text(max_size=5)
    given = data.draw(st.dictionaries(names, VALUES, min_size=1, max_size=2))
    if allowed(lambda: kind.parse(given)):
        json.dumps(kind.parse(given).model_dump(), allow_nan=False).encode()


@pytest.mark.fuzz
@pytest.mark.parametrize("id", [id for id in IDS if "Incidents" not in id])
@given(data=st.data())
def test_actions_are_carried_out_or_refused(id: str, data: st.DataObject) -> None:
    envs = population(id)
    envs.reset(seed=0)
    before = envs.state.rows(slice(None))
    shape = envs.action_space.shape or (2,)
    kinds = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "?", "U3", "O", "c8"])
    number = data.draw(st.floats(width=16) | st.integers(-2, 5))
    entries = np.full(data.draw(st.sampled_from([shape, shape[:1], shape[::-1]])), number).astype(
        data.draw(kinds), copy=True
    )
    action: Any = data.draw(st.sampled_from([entries, entries.tolist()]))
    if not allowed(lambda: envs.step(action)):
        assert all(torch.equal(a, b) for a, b in zip(before, envs.state.rows(slice(None)), strict=True))
