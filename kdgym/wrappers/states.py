"""How the state of an environment is read and put back: as a vector of numbers, never as a copy of the object."""

from __future__ import annotations

from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.envs.classic_control import (
    AcrobotEnv,
    CartPoleEnv,
    Continuous_MountainCarEnv,
    MountainCarEnv,
    PendulumEnv,
)

from kdgym.core import PopulationEnv, SingleEnv

State = npt.NDArray[Any]
AnyEnv = gym.Env[Any, Any]


class StateAdapter(Protocol):
    """Reads and writes all that the future of one kind of environment depends on, except its random generator.

    Attributes:
        name: written into stores, so that states are never given to another kind.
    """

    name: str

    def get(self, env: AnyEnv) -> State:
        """The state of an unwrapped environment, [n]; float64, where that loses nothing."""

    def set(self, env: AnyEnv, state: State) -> None:
        """Put an unwrapped environment, which has been reset, into a state that `get` returned."""


class UnknownStateError(TypeError):
    """No adapter knows how to save this environment's state."""


class ClassicControl:
    """Gymnasium's classic control: the attribute ``state``, and the floating-point type that its arithmetic is in."""

    name = "classic-control"

    def get(self, env: AnyEnv) -> State:
        """See `StateAdapter.get`."""
        state = np.asarray(env.state)  # type: ignore[attr-defined]
        return np.append(state.astype(np.float64), float(state.dtype == np.float32))

    def set(self, env: AnyEnv, state: State) -> None:
        """See `StateAdapter.set`."""
        env.state = state[:-1].astype(np.float32 if state[-1] else np.float64)  # type: ignore[attr-defined]
        if isinstance(env, CartPoleEnv):
            env.steps_beyond_terminated = None


class MuJoCo:
    """Gymnasium's MuJoCo environments: ``mjSTATE_INTEGRATION``, all that ``mj_step`` starts from, and what rewards depend on.

    After a step, positions of bodies are those before the last integration; computing them anew from a restored state would
    give others. So they are part of the state.
    """

    name = "mujoco"
    _derived = ("xpos", "xquat", "xipos", "site_xpos", "subtree_com", "cinert", "cvel", "cfrc_ext", "qfrc_actuator")

    def get(self, env: AnyEnv) -> State:
        """See `StateAdapter.get`."""
        import mujoco

        model, data = env.model, env.data  # type: ignore[attr-defined]
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(model, kind), np.float64)
        mujoco.mj_getState(model, data, state, kind)
        return np.concatenate([state, *(getattr(data, name).ravel() for name in self._derived)])

    def set(self, env: AnyEnv, state: State) -> None:
        """See `StateAdapter.set`."""
        import mujoco

        model, data = env.model, env.data  # type: ignore[attr-defined]
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        end = mujoco.mj_stateSize(model, kind)
        mujoco.mj_setState(model, data, state[:end], kind)
        for name in self._derived:
            array = getattr(data, name)
            begin, end = end, end + array.size
            array[:] = state[begin:end].reshape(array.shape)


class PopulationState:
    """kdgym's own environments with one student: all its state, as bytes, but for its random streams."""

    name = "kdgym"

    def get(self, env: AnyEnv) -> State:
        """See `StateAdapter.get`."""
        students: PopulationEnv = env.students  # type: ignore[attr-defined]
        return students.snapshot(random_streams=False).packed()[0].numpy()

    def set(self, env: AnyEnv, state: State) -> None:
        """See `StateAdapter.set`."""
        students: PopulationEnv = env.students  # type: ignore[attr-defined]
        students.restore(students.snapshot().unpacked(torch.from_numpy(state)[None]), random_streams=False)


_CLASSIC = (AcrobotEnv, CartPoleEnv, Continuous_MountainCarEnv, MountainCarEnv, PendulumEnv)
_registered: list[tuple[type[AnyEnv], StateAdapter]] = [
    *((kind, ClassicControl()) for kind in _CLASSIC),
    (SingleEnv, PopulationState()),
]


def register_adapter(kind: type[AnyEnv], adapter: StateAdapter) -> None:
    """Teach kdgym to save the states of a class of environments; the latest registration that fits is used."""
    _registered.insert(0, (kind, adapter))


def find_adapter(env: AnyEnv) -> StateAdapter:
    """The adapter for an environment's class.

    Raises:
        UnknownStateError: there is none.
    """
    inner = env.unwrapped
    for kind, adapter in _registered:
        if isinstance(inner, kind):
            return adapter
    if any(base.__module__ == "gymnasium.envs.mujoco.mujoco_env" for base in type(inner).__mro__):
        return MuJoCo()
    raise UnknownStateError(
        f"kdgym does not know how to save the state of {type(inner).__name__}. It knows Gymnasium's MuJoCo environments and "
        f"{', '.join(kind.__name__ for kind, _ in _registered)}; for others give adapter=..., an object with get(env) "
        "and set(env, state), or call kdgym.wrappers.register_adapter once."
    )
