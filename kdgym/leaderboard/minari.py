"""Records as Minari data sets of teaching: observations, actions and rewards of every student, for offline learning.

Needs ``pip install 'kdgym[minari]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import minari
import numpy as np
from gymnasium import spaces
from minari import MinariDataset
from minari.data_collector import EpisodeBuffer

from kdgym.leaderboard.record import Record
from kdgym.leaderboard.submit import open_board


def export_minari(
    records: Sequence[Record], dataset_id: str, progress: Callable[[int], None] = lambda steps: None
) -> MinariDataset:
    """Replay records of one board, and keep what teachers saw, did and earned: an episode a student and record.

    An episode's ``seed`` is the student's, and its infos say which record and step (``record``, ``step``), so that replaying
    the record's first actions gives the student's snapshot there.

    Args:
        records: of one environment with one encoding of actions; those without a trace (nobody taught) are left out.
        dataset_id: as Minari names them, ``kdgym/datagen-math/all-v0``.
        progress: called after every step with the number of student-steps done.

    Raises:
        ValueError: the records are of several environments or encodings, or none has a trace; or the name is taken.
    """
    taught = [record for record in records if record.trace is not None]
    kinds = {(record.env_id, str(record.agent.settings)) for record in taught}
    if len(kinds) != 1:
        raise ValueError(
            f"A data set is of one environment and one encoding of actions; these records are of {len(kinds)}."
        )
    episodes, space = [], None
    for number, record in enumerate(taught):
        envs = open_board(record.env_id, len(record.outcome.seeds), record.agent.settings)
        space = envs.single_observation_space, envs.single_action_space
        episodes += _replayed(record, number, envs, progress)
    assert space is not None
    names = ", ".join(record.agent.name for record in taught)
    return minari.create_dataset_from_buffers(
        dataset_id,
        episodes,
        env=taught[0].env_id,
        eval_env=taught[0].env_id,
        observation_space=_plain(space[0]),
        action_space=_plain(space[1]),
        algorithm_name=names[:200],
        author="kdgym",
        author_email="-",
        code_permalink="-",
        description=f"Lessons on {taught[0].env_id}, record by record: {names}.",
    )


def _plain(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The Gymnasium space that one of kdgym's is, which is all that Minari writes down."""
    if isinstance(space, spaces.Box):
        return spaces.Box(space.low, space.high, space.shape, space.dtype.type)
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete(space.nvec)
    if isinstance(space, spaces.Text):
        return spaces.Text(space.max_length, min_length=0, charset=frozenset(space.character_set))
    return space


def _replayed(record: Record, number: int, envs: Any, progress: Callable[[int], None]) -> list[EpisodeBuffer]:
    """One episode a student of a record."""
    assert record.trace is not None
    observation, _ = envs.reset(seed=record.outcome.seeds)
    seen, done, earned, over = [observation], [], [], []
    for action in record.trace.actions():
        observation, reward, terminated, *_ = envs.step(action)
        seen.append(observation)
        done.append(action)
        earned.append(reward)
        over.append(terminated)
        progress(envs.num_envs)
    return [_episode(record, number, envs, student, seen, done, earned, over) for student in range(envs.num_envs)]


def _episode(
    record: Record,
    number: int,
    envs: Any,
    student: int,
    seen: list[Any],
    done: list[Any],
    earned: list[Any],
    over: list[Any],
) -> EpisodeBuffer:
    rows = [envs.row(observation, student) for observation in seen]
    observations: Any = [str(row) for row in rows]
    if isinstance(rows[0], dict):
        observations = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    actions: Any = [action[student] for action in done]
    steps = len(done)
    return EpisodeBuffer(
        seed=record.outcome.seeds[student],
        observations=observations,
        actions=actions if isinstance(actions[0], str) else np.stack(actions),
        rewards=[float(reward[student]) for reward in earned],
        terminations=[bool(end[student]) for end in over],
        truncations=[False] * steps,
        infos={"record": np.full(steps + 1, number), "step": np.arange(steps + 1)},
    )
