"""What a memory is worth elsewhere: written on one stream of tasks, frozen, and used on another.

python -m kdgym.studies.transfer kdgym/Orchestrate-Math-v0 --agents always_paired,atlas
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.table import Table

from kdgym.catalogue import require_fit
from kdgym.cli.errors import run_command
from kdgym.console import Threads, console, progress_bar, set_threads
from kdgym.envs.orchestrate.orchestrate import Orchestrate
from kdgym.evaluation import FIRST_SEED, Policy, Progress, make_unseen
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import find

TASKS = 24  # of a stream
_ELSEWHERE = 500_000_000  # added to a student's seed: the seed of the second stream


@dataclass(frozen=True)
class Transfer:
    """The second stream with the memory from the first and without, [S] each, with the same students, tasks and random streams.

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
        envs = make_unseen(env_id, agent, episodes, **settings)
        if not isinstance(envs, Orchestrate):
            raise ValueError(f"{env_id} has no notes; ids with notes begin with kdgym/Orchestrate-.")
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
    act = Policy(name, envs, seed=seed)
    finished = False
    while not finished:
        observation, reward, terminated, *_ = envs.step(act(observation))
        act.after_step(reward, terminated)
        finished = bool(terminated.all())
        progress(envs.num_envs)


def transfer_table(env_id: str, results: Sequence[Transfer]) -> Table:
    """Memories frozen on unseen streams: success and reward with them, and paired differences to empty memories."""
    title = f"{env_id}: {len(results[0].notes)} students, notes from one stream used on another"
    table = Table(title=title, box=None, header_style="bold", pad_edge=False)
    for name in ("teacher", "notes", "success", "minus empty", "reward", "minus empty"):
        table.add_column(name, justify="left" if name == "teacher" else "right", no_wrap=True)
    for found in results:
        columns = [(found.success, found.success_empty), (found.reward, found.reward_empty)]
        pairs = [(f"{ours.mean():.2f}", str(mean_interval(ours - empty))) for ours, empty in columns]
        table.add_row(found.agent.partition(":")[0], f"{found.notes.mean():.1f}", *pairs[0], *pairs[1])
    return table


def main(
    id: Annotated[str, typer.Argument(metavar="ID", help="An environment whose id begins with kdgym/Orchestrate-.")],
    agents: Annotated[str, typer.Option(help="Teachers that use notes, separated by commas.")] = "always_paired,atlas",
    episodes: Annotated[int, typer.Option(help="How many unseen students.", min=2)] = 64,
    threads: Threads = 2,
) -> None:
    """A memory from one stream of tasks, frozen, on another stream of the same student, against an empty one."""
    find(id)
    teachers = [name.strip() for name in agents.split(",")]
    for agent in teachers:
        require_fit(id, agent)
    set_threads(threads)
    results = []
    with progress_bar() as bar:
        for agent in teachers:
            advance = partial(bar.advance, bar.add_task(agent, total=3 * TASKS * episodes))
            results.append(transfer(id, agent, episodes, progress=advance))
    console.print(transfer_table(id, results))


if __name__ == "__main__":
    run_command(main)
