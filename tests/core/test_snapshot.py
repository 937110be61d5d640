"""A student is a value: kept, put back, saved, and continued elsewhere, bitwise."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym.core import StudentSnapshot
from kdgym.storage import CorruptFileError

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 6, "budget": 192.0, "validation_items": 8}

CONTINUE = """
import hashlib, sys, torch, numpy as np, gymnasium as gym, kdgym
torch.set_num_threads(1)
env = gym.make("kdgym/DataGen-Math-v0", steps=6, budget=192.0, validation_items=8).unwrapped
env.restore(sys.argv[1])
digest = hashlib.sha256()
for action in np.load(sys.argv[2]):
    observation, reward, *_ = env.step(action)
    digest.update(b"".join(observation[key].tobytes() for key in sorted(observation)) + str(reward).encode())
print(digest.hexdigest())
"""


def lesson(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, 56)).astype(np.float32)


def taught(steps: int = 2) -> Any:
    env: Any = gym.make(ID, **SMALL).unwrapped
    env.reset(seed=11)
    for action in lesson(steps):
        env.step(action)
    return env


def go_on(env: Any, actions: np.ndarray) -> str:
    digest = hashlib.sha256()
    for action in actions:
        observation, reward, *_ = env.step(action)
        digest.update(b"".join(observation[key].tobytes() for key in sorted(observation)) + str(reward).encode())
    return digest.hexdigest()


def test_restore_repeats_the_future_bitwise() -> None:
    env = taught()
    snapshot = env.snapshot()
    expected = go_on(env, lesson(3, seed=1))
    env.restore(snapshot)
    assert go_on(env, lesson(3, seed=1)) == expected
    env.restore(snapshot)
    assert go_on(env, lesson(3, seed=2)) != expected


def test_a_snapshot_is_a_copy() -> None:
    env = taught()
    snapshot = env.snapshot()
    before = [row.clone() for row in snapshot.rows]
    go_on(env, lesson(2, seed=1))
    assert all((a == b).all() for a, b in zip(before, snapshot.rows, strict=True))


def test_what_was_taken_here_is_put_back_without_a_look_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    env = taught()
    snapshot, expected = env.snapshot(), env.students.observe()

    def looked() -> None:
        raise AssertionError("restoring computes what the teacher sees")

    with monkeypatch.context() as patch:
        patch.setattr(env.students, "_observe", looked)
        env.restore(snapshot)
    assert all(np.array_equal(env.students.observe()[key], expected[key]) for key in expected)


@pytest.mark.parametrize("how", ["in place", "another list", "another snapshot"])
def test_what_was_changed_since_is_checked(how: str) -> None:
    env = taught()
    snapshot = env.snapshot()
    buffer, part = env.students.state._places["step"]
    changed = [row.clone() for row in snapshot.rows]
    changed[buffer][:, part] = 99
    if how == "in place":
        snapshot.rows[buffer][:, part] = 99
    elif how == "another list":
        snapshot.rows[:] = changed
    else:
        snapshot = replace(snapshot, rows=changed)
    with pytest.raises(ValueError, match="step is 99"):
        env.restore(snapshot)


def test_restore_from_disk_into_an_environment_never_reset(tmp_path: Path) -> None:
    env = taught()
    env.snapshot().save(tmp_path / "student.safetensors")
    expected = go_on(env, lesson(3, seed=1))
    fresh: Any = gym.make(ID, **SMALL).unwrapped
    fresh.restore(tmp_path / "student.safetensors")
    assert go_on(fresh, lesson(3, seed=1)) == expected


@pytest.mark.slow
def test_a_new_process_goes_on_bitwise(tmp_path: Path) -> None:
    env, actions = taught(), lesson(3, seed=1)
    env.snapshot().save(tmp_path / "student.safetensors")
    np.save(tmp_path / "actions.npy", actions)
    command = [sys.executable, "-c", CONTINUE, str(tmp_path / "student.safetensors"), str(tmp_path / "actions.npy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == go_on(env, actions)


def test_one_student_moves_to_another_slot() -> None:
    envs: Any = gym.make_vec(ID, num_envs=3, autoreset=False, **SMALL)
    envs.reset(seed=0)
    envs.restore(envs.snapshot(2), 0)
    action = lesson(3, seed=1)
    action[0] = action[2]
    observation, *_ = envs.step(action)
    assert np.array_equal(observation["loss"][0], observation["loss"][2])


@pytest.mark.parametrize("students", [1, 2])
def test_numbers_of_every_size_come_back_from_a_table_of_bytes(students: int) -> None:
    rows = [torch.arange(3 * students, dtype=dtype).view(students, 3) for dtype in (torch.float32, torch.float64)]
    snapshot = StudentSnapshot({}, rows)
    packed = snapshot.packed()
    assert packed.shape == (students, 3 * 4 + 3 * 8)
    assert all(torch.equal(a, b) for a, b in zip(snapshot.unpacked(packed).rows, rows, strict=True))


def test_other_settings_are_refused_by_name() -> None:
    other: Any = gym.make(ID, **{**SMALL, "sources": 3}).unwrapped
    with pytest.raises(ValueError, match="sources"):
        other.restore(taught().snapshot())


def test_another_number_of_students_is_refused() -> None:
    envs: Any = gym.make_vec(ID, num_envs=2, **SMALL)
    with pytest.raises(ValueError, match="1 students, and 2"):
        envs.restore(taught().snapshot())


def test_nothing_to_snapshot_before_reset() -> None:
    with pytest.raises(RuntimeError, match="before the first reset"):
        gym.make(ID, **SMALL).unwrapped.snapshot()  # type: ignore[attr-defined]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    taught().snapshot().save(path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match="damaged"):
        StudentSnapshot.load(path)
