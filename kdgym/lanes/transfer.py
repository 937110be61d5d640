"""What a memory is worth elsewhere: written on one stream of tasks, frozen, and used on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.evaluation import FIRST_SEED, decide, introduce, load_agent
from kdgym.lanes import open_world
from kdgym.lanes.trace import Progress

_ELSEWHERE = 500_000_000  # added to a student's seed: the seed of the second stream


@dataclass(frozen=True)
class Transfer:
    """The second stream, with the memory from the first and without, [S] each, paired: the same students, tasks and luck.

    Attributes:
        agent: who taught.
        notes: how many there were to begin with.
        success, success_empty: share of tasks.
        reward, reward_empty: mean of a task.
    """

    agent: str
    notes: npt.NDArray[np.int64]
    success: npt.NDArray[np.float64]
    success_empty: npt.NDArray[np.float64]
    reward: npt.NDArray[np.float64]
    reward_empty: npt.NDArray[np.float64]


def transfer(
    env_id: str,
    agent: str,
    episodes: int = 64,
    *,
    first_seed: int = FIRST_SEED,
    progress: Progress = lambda tasks: None,
    **settings: Any,
) -> Transfer:
    """Let an agent orchestrate one stream of every student, freeze the memory, and let it orchestrate another.

    Args:
        env_id: an environment of the Orchestrate family.
        agent: see `kdgym.evaluation.load_agent`.
        episodes: number of students.
        first_seed: of the students.
        progress: called after every step with the number of student-steps done.
        settings: passed to the environment.

    Raises:
        ValueError: the environment is of another family.
    """

    def second_stream(remember: bool) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.float64]]]:
        envs = open_world(env_id, agent, episodes, **settings)
        observation, _ = envs.reset(seed=first_seed)
        if remember:
            _orchestrate(envs, agent, observation, first_seed, progress)
        observation, _ = envs.reset(seed=first_seed + _ELSEWHERE, options={"memory": "frozen"})
        notes = (envs.state["note_cue"] >= 0).sum(1).cpu().numpy()
        _orchestrate(envs, agent, observation, first_seed, progress)
        return notes, {**envs.outcome(), "reward": envs.score()}

    (notes, with_notes), (_, without) = second_stream(remember=True), second_stream(remember=False)
    columns = (with_notes["success"], without["success"], with_notes["reward"], without["reward"])
    return Transfer(agent, notes, *columns)


def _orchestrate(envs: Any, name: str, observation: Any, seed: int, progress: Progress) -> None:
    agent = load_agent(name, envs, seed=seed)
    introduce(agent, envs, observation)
    finished = False
    while not finished:
        observation, _, terminated, *_ = envs.step(decide(agent, envs, observation))
        finished = bool(terminated.all())
        progress(envs.num_envs)
