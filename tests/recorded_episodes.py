"""Recorded episodes: what a short seeded episode of every id gives, number by number, in ``tests/episodes``.

A file holds the settings, the actions, and every observation, reward and info. Values stand by position, and their names
in a table of their own: renaming a key changes a line of names, and no number.

    python -m tests.recorded_episodes [ID ...]     record anew, and say what changed
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from kdgym.evaluation import decide, introduce, load_agent
from kdgym.leaderboard.submit import processor
from kdgym.leaderboard.trace import Replay
from kdgym.registration import ENVIRONMENTS, Entry, find
from tests.students.language.tiny_model import write_model

FOLDER = Path(__file__).parent / "episodes"
SEED, STUDENTS = 20_000, 2
Values = dict[str, npt.NDArray[Any]]


def settings_of(entry: Entry) -> dict[str, Any]:
    """What makes an episode of this id short: as recorded, or for a new one as the table says."""
    recorded: dict[str, Any] = read(entry.id)[0]["settings"] if path_of(entry.id).is_file() else entry.small
    return recorded


def path_of(env_id: str) -> Path:
    return FOLDER / f"{env_id.partition('/')[2]}.json"


def run(env_id: str, settings: dict[str, Any], actions: list[Any] | None = None) -> tuple[Values, list[Any]]:
    """An episode, by the actions given or by actions drawn here: name -> value, and the actions."""
    with tempfile.TemporaryDirectory() as folder:
        student = {"student": f"hf:{write_model(Path(folder))}"} if find(env_id).needs_model else {}
        envs: Any = gym.make_vec(env_id, num_envs=STUDENTS, **settings, **student)
        observation, info = envs.reset(seed=SEED)
        values = dict(_flat({"reset": {"observation": observation, "info": info}}))
        teacher = Replay(actions) if actions else _Drawn(envs, observation)
        taken: list[Any] = []
        for step in range(envs.steps):
            taken.append(teacher.act(observation))
            if step == envs.steps - 1:
                values |= _flat({"test": envs.examine("test")})
            observation, reward, terminated, truncated, info = envs.step(taken[-1])
            outcome = {"observation": observation, "reward": reward, "terminated": terminated, "truncated": truncated}
            values |= _flat({f"step {step + 1}": {**outcome, "info": info}})
    return values, taken


class _Drawn:
    """Numbers at random; where lessons are written, what `copy_errors` writes."""

    def __init__(self, envs: Any, observation: Any) -> None:
        self._envs, self._writer = envs, None
        envs.action_space.seed(SEED)
        if isinstance(envs.single_action_space, gym.spaces.Text):
            self._writer = load_agent("copy_errors", envs)
            introduce(self._writer, envs, observation)

    def act(self, observation: Any) -> Any:
        if self._writer is not None:
            return decide(self._writer, self._envs, observation).tolist()
        return self._envs.action_space.sample()


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """The arrays of nested dicts and of object arrays of dicts, with the way there as their name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}".lstrip("."))
        return
    array = np.asarray(value)
    if array.dtype == object and any(isinstance(inner, dict) for inner in array.flat):
        for i, inner in enumerate(array):
            yield from _flat(inner, f"{name}[{i}]")
        return
    yield name, array.astype(str) if array.dtype == object else array


def conditions() -> dict[str, str]:
    """What decides the last bits."""
    return {"processor": processor(), "torch": torch.__version__, "numpy": np.__version__}


# --- files -----------------------------------------------------------------------------------------------------------


def write(env_id: str, settings: dict[str, Any], values: Values, actions: list[Any]) -> None:
    """One line a value, so that a difference can be read."""
    head = {"env_id": env_id, "settings": settings, "conditions": conditions()}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    names = [f"{name} {array.dtype.str} {'x'.join(map(str, array.shape))}" for name, array in values.items()]
    for key, rows in (("actions", map(_plain, actions)), ("names", names), ("values", map(_plain, values.values()))):
        lines.append(f'"{key}": [\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]")
    path_of(env_id).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read(env_id: str) -> tuple[dict[str, Any], Values, list[Any]]:
    """The head of a file, its values by their names, and its actions."""
    found = json.loads(path_of(env_id).read_text())
    values = {}
    for line, row in zip(found.pop("names"), found.pop("values"), strict=True):
        name, dtype, shape = line.rsplit(" ", 2)
        values[name] = np.array(row, dtype=dtype).reshape([int(n) for n in shape.split("x") if n])
    actions = found.pop("actions")
    if not isinstance(actions[0][0], str):
        actions = [np.array(action, dtype=np.float32).reshape(STUDENTS, -1) for action in actions]
    return found, values, actions


def _plain(value: Any) -> list[Any]:
    """Flat, and as short as it can be without losing a bit."""
    array = np.asarray(value)
    if array.dtype == np.float32:
        return [float(str(number)) for number in array.flat]
    return array.flatten().tolist()  # type: ignore[no-any-return]


def mean_difference(one: Values, other: Values) -> float:
    """Mean over all values of their mean absolute difference, relative to numbers above 1; texts are left out."""
    numbers = [name for name, array in one.items() if array.dtype.kind in "fiu" and array.size]
    return float(np.mean([_difference(one[name].astype(float), other[name].astype(float)) for name in numbers]))


def _difference(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    return float((np.abs(one - other) / np.maximum(1, np.abs(one))).mean())


def main(ids: list[str]) -> None:
    """Record, and print which names and how many numbers are others than before."""
    for env_id in ids or [entry.id for entry in ENVIRONMENTS]:
        settings = settings_of(find(env_id))
        before = read(env_id)[1] if path_of(env_id).is_file() else {}
        values, actions = run(env_id, settings)
        write(env_id, settings, values, actions)
        moved = [name for name in values if name in before and not np.array_equal(values[name], before[name])]
        new, gone = [n for n in values if n not in before], [n for n in before if n not in values]
        print(f"{env_id}: {len(values)} values, {len(new)} new names, {len(gone)} gone, {len(moved)} moved")  # noqa: T201
        for name in moved[:5]:
            print(f"  moved: {name}")  # noqa: T201


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
