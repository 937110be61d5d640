"""Minari data sets: what recorded policies saw as snapshots, and records of leaderboards as data sets.

Needs ``pip install 'kdgym[minari]'``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from gymnasium import spaces
from minari import MinariDataset, StepDataCallback
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage.datasets_root_dir import get_dataset_path

from kdgym.wrappers.states import AnyEnv, StateAdapter, find_adapter
from kdgym.wrappers.store import SnapshotStore, describe, flat_observation, returns_to_go

_STATE = "state"  # among a step's infos
_ROOT = "MINARI_DATASETS_PATH"  # where Minari keeps data sets


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
            f"{name} records no states: its infos are {sorted(infos)}. Record with "
            "kdgym.integrations.minari.RecordStates, or use a data set whose infos hold qpos and qvel."
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


# --- records of leaderboards -----------------------------------------------------------------------------------------


def export_minari(
    records: Sequence[Any], dataset_id: str, progress: Callable[[int], None] = lambda steps: None
) -> MinariDataset:
    """Replay records of one board, and keep what teachers saw, did and earned: an episode a student and record.

    An episode's ``seed`` is the student's, and its infos say which record and step (``record``, ``step``), so that replaying
    the record's first actions gives the student's snapshot there.

    Args:
        records: `kdgym.leaderboard.record.Record` of one environment with one encoding of actions; those without a trace
            (nobody taught) are left out.
        dataset_id: as Minari names them, ``kdgym/datagen-math/all-v0``.
        progress: called after every step with the number of student-steps done.

    Raises:
        ValueError: the records are of several environments or encodings, or none has a trace; or the name is taken.
    """
    taught = [record for record in records if record.trace is not None]
    if get_dataset_path(dataset_id).exists():
        raise ValueError(f"There is a data set {dataset_id} already; choose another name or version.")
    kinds = {(record.env_id, str(record.agent.settings)) for record in taught}
    if len(kinds) != 1:
        raise ValueError(
            f"A data set is of one environment and one encoding of actions; these records are of {len(kinds)}."
        )
    episodes, env_id = [], taught[0].env_id
    for number, record in enumerate(taught):
        envs: Any = gym.make_vec(
            env_id, num_envs=len(record.outcome.seeds), pool="evaluation", autoreset=False, **record.agent.settings
        )
        episodes += _replayed(record, number, envs, progress)
    names = ", ".join(record.agent.name for record in taught)
    with _whole(dataset_id):
        minari.create_dataset_from_buffers(
            dataset_id,
            episodes,
            env=env_id,
            eval_env=env_id,
            observation_space=_plain(envs.single_observation_space),
            action_space=_plain(envs.single_action_space),
            algorithm_name=names[:200],
            author="kdgym",
            author_email="-",
            code_permalink="-",
            description=f"Lessons on {env_id}, record by record: {names}.",
        )
    return minari.load_dataset(dataset_id)


@contextmanager
def _whole(dataset_id: str) -> Iterator[None]:
    """What is created in here is made in a hidden folder, which Minari does not list, and gets its place in the end."""
    place, namespace = get_dataset_path(dataset_id), parse_dataset_id(dataset_id)[0]
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)
    with tempfile.TemporaryDirectory(dir=get_dataset_path(), prefix=".") as hidden:
        before = os.environ.get(_ROOT)
        os.environ[_ROOT] = hidden
        try:
            yield
        finally:
            os.environ.pop(_ROOT)
            if before is not None:
                os.environ[_ROOT] = before
        place.parent.mkdir(parents=True, exist_ok=True)
        (Path(hidden) / dataset_id).rename(place)


def _plain(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The Gymnasium space that one of kdgym's is, which is all that Minari writes down."""
    if isinstance(space, spaces.Box):
        return spaces.Box(space.low, space.high, space.shape, space.dtype.type)
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec)
    if isinstance(space, spaces.Text):
        return spaces.Text(space.max_length, min_length=0, charset=frozenset(space.character_set))
    return space


def _replayed(record: Any, number: int, envs: Any, progress: Callable[[int], None]) -> list[EpisodeBuffer]:
    """One episode a student of a record."""
    observation, _ = envs.reset(seed=record.outcome.seeds)
    seen, steps = [observation], []
    for action in record.trace.actions():
        observation, reward, terminated, *_ = envs.step(action)
        seen.append(observation)
        steps.append((action, reward, terminated))
        progress(envs.num_envs)
    episodes = []
    for i, seed in enumerate(record.outcome.seeds):
        rows = [envs.row(each, i) for each in seen]
        observations: Any = [str(row) for row in rows]
        if isinstance(rows[0], dict):
            observations = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        actions: Any = [action[i] for action, *_ in steps]
        episode = EpisodeBuffer(
            seed=seed,
            observations=observations,
            actions=actions if isinstance(actions[0], str) else np.stack(actions),
            rewards=[float(reward[i]) for _, reward, _ in steps],
            terminations=[bool(terminated[i]) for *_, terminated in steps],
            truncations=[False] * len(steps),
            infos={"record": np.full(len(rows), number), "step": np.arange(len(rows))},
        )
        episodes.append(episode)
    return episodes
