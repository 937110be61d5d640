"""Minari data sets as snapshots; and how to record one whose states can be put back. Needs ``pip install 'kdgym[minari]'``."""

from __future__ import annotations

from typing import Any

import minari
import numpy as np
from minari import MinariDataset, StepDataCallback

from kdgym.wrappers.states import AnyEnv, StateAdapter, find_adapter
from kdgym.wrappers.store import SnapshotStore, describe, flat_observation, returns_to_go

_STATE = "state"  # among a step's infos


class RecordStates(StepDataCallback):  # type: ignore[misc]  # Minari has no types
    """Has every step's state recorded: ``DataCollector(env, step_data_callback=RecordStates, record_infos=True)``."""

    def __call__(self, env: AnyEnv, obs: Any, info: dict[str, Any], *rest: Any, **named: Any) -> Any:
        """See Minari's ``StepDataCallback``. What the environment's adapter reads takes the place of the infos, which Minari
        can only record where they have the same names at resets and at steps.
        """
        return super().__call__(env, obs, {_STATE: find_adapter(env).get(env.unwrapped)}, *rest, **named)


def read_minari(
    dataset: str | MinariDataset,
    episodes: int = 10,
    every: int = 10,
    discount: float = 0.99,
    adapter: StateAdapter | None = None,
) -> SnapshotStore:
    """Snapshots of a recorded policy's trajectories.

    States are read where the infos hold ``state``, as `RecordStates` writes it, or ``qpos`` and ``qvel``, as the MuJoCo data
    sets that come from D4RL do; from the latter, MuJoCo's warm start and actuators begin anew. A snapshot's value is the
    discounted return of the rest of its own trajectory.

    Args:
        dataset: a data set, or the id of one that is on this machine.
        episodes: how many of its episodes are read, from the first.
        every: steps between two snapshots.
        discount: of rewards, a step.
        adapter: see `SnapshotReset`.

    Raises:
        ValueError: no states are recorded there, or an argument is not positive.
        UnknownStateError: no adapter is known for its environment.
        FileNotFoundError: the data set is not on this machine.
    """
    if episodes < 1 or every < 1:
        raise ValueError(f"episodes is {episodes} and every is {every}; both are at least 1.")
    source = minari.load_dataset(dataset) if isinstance(dataset, str) else dataset
    env = source.recover_environment()
    adapter = adapter or find_adapter(env)
    env.reset(seed=0)
    rows: list[tuple[Any, ...]] = []
    steps = 0
    for number, episode in enumerate(source.iterate_episodes(source.episode_indices[:episodes])):
        left = returns_to_go(episode.rewards, discount)
        for step in range(0, len(episode), every):
            flat = flat_observation(env.observation_space, _at(episode.observations, step))
            rows.append((_state(env, adapter, episode.infos, step, source.id), flat, left[step], number, step))
        steps += len(episode)
    state, observations, values, index, at = map(np.array, zip(*rows, strict=True))
    made = {"policy": source.id, "episodes": int(index[-1]) + 1, "every": every, "discount": discount}
    provenance = {**describe(env, adapter), **made, "environment_steps": steps}
    return SnapshotStore(state, observations, values, index, at, provenance)


def _state(env: AnyEnv, adapter: StateAdapter, infos: dict[str, Any], step: int, name: str) -> Any:
    """The state at a step, as the adapter reads it."""
    if _STATE in infos:
        return np.asarray(infos[_STATE][step])
    if "qpos" not in infos or "qvel" not in infos:
        raise ValueError(
            f"{name} records no states: its infos are {sorted(infos)}. Record with kdgym.wrappers.minari.RecordStates, or use "
            "a data set whose infos hold qpos and qvel."
        )
    inner: Any = env.unwrapped
    inner.set_state(np.asarray(infos["qpos"][step]), np.asarray(infos["qvel"][step]))
    return adapter.get(inner)


def _at(observations: Any, step: int) -> Any:
    """One step of observations that may be nested."""
    if isinstance(observations, dict):
        return {key: _at(value, step) for key, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_at(value, step) for value in observations)
    return observations[step]
