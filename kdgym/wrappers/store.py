"""Snapshots of an environment on a teacher's trajectories: a table of states, with where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from kdgym.storage import CorruptFileError, load_tensors, save_tensors
from kdgym.wrappers.states import AnyEnv, StateAdapter

_FORMAT = "kdgym snapshots 0"
_COLUMNS = ("state", "observation", "value", "episode", "step")


class SnapshotMismatchError(ValueError):
    """Snapshots do not belong to this environment."""


@dataclass(frozen=True)
class SnapshotStore:
    """N snapshots of one environment.

    Attributes:
        state: what the environment's adapter reads, float64 [N, n].
        observation: what the agent saw there, flattened, in the environment's own type, [N, m].
        value: the teacher's estimate of the return that is left, float64 [N]; NaN where it has none.
        episode: which of the teacher's episodes, int64 [N].
        step: how many steps into it, int64 [N].
        provenance: JSON-serialisable: what `describe` says of the environment, and what the collector wrote, such as
            ``environment_steps``, the steps that collecting took.
    """

    state: npt.NDArray[np.float64]
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

    def require(self, env: AnyEnv, adapter: StateAdapter) -> None:
        """Refuse environments these snapshots do not fit.

        Raises:
            SnapshotMismatchError: id (with its version), arguments, kind of state or spaces differ.
        """
        for name, given in describe(env, adapter).items():
            if self.provenance.get(name) != given:
                raise SnapshotMismatchError(
                    f"The snapshots were taken with {name} {self.provenance.get(name)!r}, but this environment has {given!r}."
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


def describe(env: AnyEnv, adapter: StateAdapter) -> dict[str, str]:
    """What must agree between the environment of the snapshots and the one that starts from them."""
    spec = env.spec
    arguments = {} if spec is None else {k: v for k, v in spec.kwargs.items() if k != "render_mode"}
    return {
        "env_id": type(env.unwrapped).__name__ if spec is None else spec.id,
        "arguments": str(sorted(arguments.items())),
        "adapter": adapter.name,
        "observation_space": str(env.observation_space),
        "action_space": str(env.action_space),
    }


def flat_observation(space: gym.Space[Any], observation: Any) -> npt.NDArray[Any]:
    """One observation as a row of `SnapshotStore.observation`."""
    return np.asarray(gym.spaces.flatten(space, observation))


def unflat_observation(space: gym.Space[Any], row: npt.NDArray[Any]) -> Any:
    """The observation that `flat_observation` made a row of."""
    return gym.spaces.unflatten(space, row)
