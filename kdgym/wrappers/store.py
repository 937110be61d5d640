"""Snapshots of an environment on a demonstrator's trajectories: a table of states, with their provenance."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from kdgym.core import PopulationEnv, SingleEnv
from kdgym.storage import CorruptFileError, load_tensors, save_tensors
from kdgym.wrappers.states import AnyEnv, StateAdapter

AnyVector = gym.vector.VectorEnv[Any, Any, Any]
_FORMAT = "kdgym snapshots 0"
_COLUMNS = ("state", "observation", "value", "episode", "step")


class SnapshotMismatchError(ValueError):
    """Snapshots do not belong to this environment."""


@dataclass(frozen=True)
class SnapshotStore:
    """N snapshots of one environment.

    Attributes:
        state: what the environment's adapter reads, [N, n]; float64, or uint8 of kdgym's own environments.
        observation: in that state, flattened, in the environment's own type, [N, m].
        value: the demonstrator's estimate of the return to go, float64 [N]; NaN where it has none.
        episode: of the demonstrator, int64 [N].
        step: of that episode, int64 [N].
        provenance: JSON-serialisable: what `describe` says of the environment, and what the collector wrote, such as
            ``environment_steps``, the steps that collecting took.
    """

    state: npt.NDArray[Any]
    observation: npt.NDArray[Any]
    value: npt.NDArray[np.float64]
    episode: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"The columns of a store have one row a snapshot, but their lengths are {lengths}.")
        if not len(self.state):
            raise ValueError("The store is empty; collect at least one snapshot.")

    def __len__(self) -> int:
        return len(self.state)

    def require(self, env: AnyEnv | AnyVector, adapter: StateAdapter) -> None:
        """Refuse environments these snapshots do not fit.

        Raises:
            SnapshotMismatchError: id (with its version), arguments, kind of state or spaces differ.
        """
        for name, given in describe(env, adapter).items():
            sides = [self.provenance.get(name), given]
            if sides[0] == sides[1]:
                continue
            if all(isinstance(side, dict) for side in sides):
                differ = [key for key in {**sides[0], **sides[1]} if sides[0].get(key) != sides[1].get(key)]
                sides = [{key: side.get(key) for key in differ} for side in sides]
            raise SnapshotMismatchError(
                f"The snapshots were taken with {name} {sides[0]!r}, but this environment has {sides[1]!r}."
            )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically."""
        columns = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in _COLUMNS}
        save_tensors(Path(path), columns, {"format": _FORMAT, **self.provenance})

    @classmethod
    def load(cls, path: str | Path) -> SnapshotStore:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            CorruptFileError: the file is damaged or cut short, or holds something else.
        """
        tensors, header = load_tensors(Path(path))
        if header.pop("format", None) != _FORMAT or set(tensors) != set(_COLUMNS):
            raise CorruptFileError(f"{path} holds no snapshots; 'kdgym snapshots collect' writes such files.")
        return cls(**{name: tensor.numpy() for name, tensor in tensors.items()}, provenance=header)


def returns_to_go(rewards: npt.ArrayLike, discount: float) -> npt.NDArray[np.float64]:
    """Discounted sums of the rewards from each step on: rewards [T, ...] -> float64 [T, ...]."""
    left = np.array(rewards, dtype=np.float64)
    for step in range(len(left) - 2, -1, -1):
        left[step] += discount * left[step + 1]
    return left


def describe(env: AnyEnv | AnyVector, adapter: StateAdapter) -> dict[str, Any]:
    """What must agree between the environment of the snapshots and the one that starts from them; JSON-serialisable."""
    inner, spec = env.unwrapped, env.spec
    students = inner.students if isinstance(inner, SingleEnv) else inner
    if isinstance(students, PopulationEnv):
        arguments: dict[str, Any] = students.settings
        spaces = students.single_observation_space, students.single_action_space
    else:
        arguments = {} if spec is None else {k: str(v) for k, v in spec.kwargs.items() if k != "render_mode"}
        spaces = env.observation_space, env.action_space
    return {
        "env_id": type(inner).__name__ if spec is None else spec.id,
        "arguments": json.loads(json.dumps(arguments)),
        "adapter": adapter.name,
        "observation_space": str(spaces[0]),
        "action_space": str(spaces[1]),
    }


def flat_observation(space: gym.Space[Any], observation: Any) -> npt.NDArray[Any]:
    """One observation as a row of `SnapshotStore.observation`."""
    return np.asarray(gym.spaces.flatten(space, observation))


def unflat_observation(space: gym.Space[Any], row: npt.NDArray[Any]) -> Any:
    """The observation that `flat_observation` made a row of."""
    return gym.spaces.unflatten(space, row)
