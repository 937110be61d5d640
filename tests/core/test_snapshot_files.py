"""Snapshots that others wrote: what no student can be is refused in a sentence, and leaves the population as it was."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import kdgym  # noqa: F401  # registers the environments
from kdgym.core import StudentSnapshot
from kdgym.storage import CorruptFileError, load_tensors, save_tensors

pytestmark = pytest.mark.slow

SMALL = {"steps": 3, "budget": 48.0, "validation_items": 4}
PRACTICE = {"steps": 3, "updates": 1, "validation_starts": 2, "test_starts": 2}
IDS: dict[str, dict[str, Any]] = {
    "kdgym/DataGen-Math-v0": SMALL,
    "kdgym/DataGen-Math-OpenEnded-v0": SMALL,
    "kdgym/DataGen-Math-SkillTree-v0": SMALL,
    "kdgym/Classroom-Math-v0": SMALL,
    "kdgym/Feedback-Math-v0": {"steps": 3},
    "kdgym/Snapshot-CartPole-v0": PRACTICE,
    "kdgym/Orchestrate-Incidents-v0": {"tasks": 3},
}
Tensors = dict[str, Tensor]


@functools.cache
def population(id: str, students: int = 2) -> Any:
    """In the middle of an episode."""
    envs = gym.make_vec(id, num_envs=students, autoreset=False, **IDS[id])
    envs.action_space.seed(0)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    return envs


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("snapshots") / "student.safetensors"


def written(envs: Any, file: Path) -> tuple[Tensors, dict[str, Any]]:
    envs.snapshot().save(file)
    return load_tensors(file)


def refused(envs: Any, file: Path, said: str = ".") -> None:
    before = envs.state.rows(slice(None))
    with pytest.raises(ValueError, match=said) as error:
        envs.restore(StudentSnapshot.load(file))
    assert len(str(error.value)) < 2000
    assert all(torch.equal(a, b) for a, b in zip(before, envs.state.rows(slice(None)), strict=True))


def with_settings(change: Callable[[dict[str, Any]], Any]) -> Callable[[Tensors, dict[str, Any]], Any]:
    return lambda tensors, header: (tensors, {"settings": change(header["settings"])})


FORGERIES: dict[str, Callable[[Tensors, dict[str, Any]], tuple[Tensors, Any]]] = {
    "no settings": lambda t, h: (t, {}),
    "settings are a list": lambda t, h: (t, {"settings": [h["settings"]]}),
    "settings are null": lambda t, h: (t, {"settings": None}),
    "another header": lambda t, h: (t, {"recipe": h["settings"]}),
    "more in the header": lambda t, h: (t, {**h, "more": 1}),
    "header is a list": lambda t, h: (t, [h]),
    "header is a number": lambda t, h: (t, 1),
    "one setting less": with_settings(lambda s: {k: v for k, v in s.items() if k != "budget"}),
    "one setting more": with_settings(lambda s: {**s, "more": 1}),
    "another setting": with_settings(lambda s: {**s, "budget": 7}),
    "no rows": lambda t, h: ({}, h),
    "one tensor less": lambda t, h: (dict(list(t.items())[:-1]), h),
    "one tensor more": lambda t, h: ({**t, str(len(t)): t["0"].clone()}, h),
    "another name": lambda t, h: ({**dict(list(t.items())[:-1]), "x": t["0"].clone()}, h),
    "two swapped": lambda t, h: ({**t, "0": t["1"], "1": t["0"]}, h),
    **{f"tensor {i} wider": lambda t, h, i=i: ({**t, i: torch.cat([t[i], t[i]], 1)}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} narrower": lambda t, h, i=i: ({**t, i: t[i][:, 1:]}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} flat": lambda t, h, i=i: ({**t, i: t[i].flatten()}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} a number": lambda t, h, i=i: ({**t, i: t[i][0, 0]}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} halved": lambda t, h, i=i: ({**t, i: t[i].half()}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} doubled": lambda t, h, i=i: ({**t, i: t[i].to(torch.complex64)}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} of one student": lambda t, h, i=i: ({**t, i: t[i][:1]}, h) for i in "012"},  # type: ignore[misc]
    **{f"tensor {i} of nobody": lambda t, h, i=i: ({**t, i: t[i][:0]}, h) for i in "012"},  # type: ignore[misc]
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_files_with_a_right_checksum_and_other_content_are_refused(forgery: str, file: Path) -> None:
    envs = population("kdgym/DataGen-Math-v0")
    save_tensors(file, *FORGERIES[forgery](*written(envs, file)))
    refused(envs, file)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("id", IDS)
def test_numbers_that_are_none_are_refused_in_every_field(id: str, bad: float, file: Path) -> None:
    envs = population(id)
    tensors, header = written(envs, file)
    for name, tensor in tensors.items():
        for place in {0, tensor.shape[1] // 2, tensor.shape[1] - 1} if tensor.is_floating_point() else ():
            damaged = tensor.clone()
            damaged[1, place] = bad
            save_tensors(file, {**tensors, name: damaged}, header)
            refused(envs, file, "infinite or NaN")


@pytest.mark.parametrize(
    ("name", "value"),
    [("step", -1), ("step", 3), ("step", 2**62), ("done", 4), ("done", -1), ("episode", -1), ("seed", -1)]
    + [(name, value) for name in ("ledger", "billed", "spent") for value in (-1e-9, -1e300)],
)
@pytest.mark.parametrize("id", IDS)
def test_the_step_lies_in_the_episode_and_costs_are_not_negative(id: str, name: str, value: float, file: Path) -> None:
    envs = population(id)
    snapshot = envs.snapshot()
    buffer, part = envs.state._places[name]
    snapshot.rows[buffer][1, part.start] = value
    snapshot.save(file)
    refused(envs, file, name)


WHOLE = st.sampled_from([-(2**63), -(10**6), -2, -1, 0, 1, 7, 2**31, 2**62, 2**63 - 1]) | st.integers(-100, 100_000)
REAL = st.sampled_from([-1e300, -1e30, -2.0, -1.0, -1e-6, 0.0, 0.5, 1.0, 2.0, 1e30, 1e300]) | st.floats(-10, 10)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.fuzz
@given(data=st.data())
def test_whatever_stands_in_a_field_it_is_refused_or_the_student_goes_on(
    id: str, data: st.DataObject, file: Path
) -> None:
    envs = population(id)
    snapshot, untouched = envs.snapshot(), envs.snapshot()
    whole = [name for name in envs.state if not envs.state[name].is_floating_point()]
    name = data.draw(st.sampled_from(whole) | st.sampled_from(list(envs.state)), "field")
    buffer, part = envs.state._places[name]
    row = snapshot.rows[buffer]
    columns = range(part.start, min(part.stop or part.start + 1, row.shape[1]))
    value: Any = data.draw(REAL if row.is_floating_point() else WHOLE, "value")
    if row.is_floating_point():
        value = float(np.clip(value, torch.finfo(row.dtype).min, torch.finfo(row.dtype).max))
    if columns:
        row[data.draw(st.integers(0, 1)), data.draw(st.sampled_from(columns))] = value
    snapshot.save(file)
    try:
        envs.restore(StudentSnapshot.load(file))
    except ValueError:
        assert all(torch.equal(a, b) for a, b in zip(untouched.rows, envs.state.rows(slice(None)), strict=True))
    else:
        envs.step(envs.action_space.sample())
        envs.examine()
    envs.restore(untouched)


@pytest.mark.fuzz
@given(data=st.data())
def test_a_file_changed_at_any_byte_is_refused(data: st.DataObject, file: Path) -> None:
    envs = population("kdgym/DataGen-Math-v0")
    envs.snapshot().save(file)
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, 3000) | st.integers(0, len(content) - 1), "place")
    kind = data.draw(st.sampled_from(["change", "cut", "insert", "remove"]), "kind")
    if kind == "change":
        content[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[place:]
    elif kind == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    else:
        del content[place : place + data.draw(st.integers(1, 9))]
    file.write_bytes(bytes(content))
    before = envs.state.rows(slice(None))
    try:
        found = StudentSnapshot.load(file)
    except CorruptFileError:
        return
    # What is not content, such as a blank in the header, may change.
    assert all(torch.equal(a, b) for a, b in zip(before, found.rows, strict=True))
    envs.restore(found)
