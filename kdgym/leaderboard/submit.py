"""Making a submission: an agent teaches the board's students, and what it did is written down beside what came of it."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import kdgym
from kdgym.catalogue import AGENTS, require_fit
from kdgym.evaluation import (
    FIRST_SEED,
    MOST_FAILED,
    NO_TEACHING,
    agent_class,
    agent_module,
    encoding,
    failed_share,
    load_agent,
    teach,
)
from kdgym.leaderboard.names import OWN, require_free
from kdgym.leaderboard.record import AgentCard, Conditions, Disclosures, Kind, Outcome, Record, checked
from kdgym.leaderboard.trace import Rounded, write_trace
from kdgym.registration import find
from kdgym.students.tiny.kernel import fingerprint

Progress = Callable[[int, int], None]  # how many student-steps were done, and how many there are
FEWEST = 2  # students of a person


def board_seeds(env_id: str) -> list[int]:
    """The student seeds of a board, the same for every agent."""
    return list(range(FIRST_SEED, FIRST_SEED + find(env_id).episodes))


def fits_board(env_id: str, seeds: list[int], kind: str) -> bool:
    """Whether these are the board's seeds; of a person, who teaches one student after the other, the first few of them."""
    board = board_seeds(env_id)
    return seeds == board or (kind == "human" and len(seeds) >= FEWEST and seeds == board[: len(seeds)])


def open_board(env_id: str, students: int, settings: Mapping[str, Any]) -> Any:
    """The board's environment: unseen students who do not start over by themselves."""
    return gym.make_vec(env_id, num_envs=students, pool="evaluation", autoreset=False, **settings)


def make_record(
    env_id: str,
    agent: str,
    name: str,
    authors: list[str],
    *,
    kind: Kind = "rule",
    model: str | None = None,
    disclosures: Disclosures | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress = lambda steps, total: None,
) -> Record:
    """Let an agent teach the board's students in this process, and write the submission.

    Args:
        env_id: the board.
        agent: see `kdgym.evaluation.load_agent`; or ``"no teaching"``.
        name, authors, kind, model: as shown, see `AgentCard`.
        disclosures: what readers should know.
        options: see `load_agent`.
        progress: called after every step with the number of student-steps done in it, and of all.

    Raises:
        ValueError: there is no such board or agent, the agent does not fit it, a name is refused, or the agent's language model
            left more than `MOST_FAILED` of its questions without an answer.
        UnreachableError: its language model does not answer the first question.
    """
    require_fit(env_id, agent)
    seeds, settings, source = board_seeds(env_id), encoding(agent), source_of(agent)
    weights = Path(agent.rpartition(":")[2]) if ":" in agent or agent.endswith(".zip") else None
    card = checked(
        AgentCard,
        name=name,
        authors=authors,
        kind=kind,
        source=source,
        sha256=None if source is None else hashlib.sha256(source.encode()).hexdigest(),
        weights=None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest(),
        model=model,
        settings=settings,
    )
    if authors != [OWN] or agent.partition(":")[0] != name:  # kdgym's own agents are recorded by the names they have
        require_free(card)
    envs = open_board(env_id, len(seeds), settings)
    teacher = None if agent == NO_TEACHING else load_agent(agent, envs, seed=0, options=options)
    return record_lessons(env_id, envs, teacher, card, seeds, disclosures, progress)


def record_lessons(
    env_id: str,
    envs: Any,
    teacher: Any,
    card: AgentCard,
    seeds: list[int],
    disclosures: Disclosures | None = None,
    progress: Progress = lambda steps, total: None,
) -> Record:
    """Let a teacher (None: no teaching) teach the students of these seeds in a population of `open_board`; the record of it."""
    begun, total = time.monotonic(), envs.steps * len(seeds)
    rounded = None if teacher is None else Rounded(teacher)
    outcome, actions = teach(envs, rounded, seeds, lambda steps: progress(steps, total))
    if (failed := failed_share(outcome["remarks"])) > MOST_FAILED:
        raise ValueError(
            f"The language model did not answer {100 * failed:.0f} % of the questions; a leaderboard takes at most "
            f"{100 * MOST_FAILED:.0f} %. Repair the connection to it, and submit again."
        )
    seconds = round(time.monotonic() - begun, 1)
    return Record(
        env_id=env_id,
        day=today(),
        agent=card,
        conditions=conditions(envs).model_copy(update={"seconds": seconds}),
        outcome=as_outcome(outcome),
        trace=write_trace(actions, envs.single_action_space, len(seeds)) if actions else None,
        disclosures=disclosures or Disclosures(),
    )


def source_of(agent: str) -> str | None:
    """The code of an agent; None of an SB3 zip without a file of its own, and of who does not teach."""
    base = agent.partition(":")[0]
    if agent == NO_TEACHING or base.endswith(".zip"):
        return None
    module, kind = (AGENTS[base].module, AGENTS[base].kind) if base in AGENTS else ("", "Agent")
    if kind != "Agent" and module.startswith("kdgym.agents."):  # a preset; of other packages all they wrote
        preset = agent_class(base)
        body = f"    {preset.__doc__!r}\n\n    rule = {preset.rule!r}\n"
        return f"from kdgym.teaching import Fixed\n\n\nclass Agent(Fixed):\n{body}"
    file = agent_module(base).__file__
    assert file is not None
    source = Path(file).read_text(encoding="utf-8")
    return source if kind == "Agent" else f"{source}\n\nAgent = {kind}\n"


def as_outcome(found: Mapping[str, Any]) -> Outcome:
    """What `teach` says came of it, as numbers of a record."""
    columns = {
        name: np.asarray(found[name]).tolist() for name in ("seeds", "before", "after", "right", "asked", "curve")
    }
    cost = {actor: {unit: amount.tolist() for unit, amount in units.items()} for actor, units in found["cost"].items()}
    return Outcome(**columns, cost=cost)


def conditions(envs: Any) -> Conditions:
    """Where we are."""
    return Conditions(
        kdgym=kdgym.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=np.__version__,
        threads=torch.get_num_threads(),
        device=str(envs.device),
        processor=processor(),
    )


def processor() -> str:
    """The kind of machine: what decides how sums are rounded."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    model = names[0] if names else platform.processor()
    known = [f"{platform.system()} {platform.machine()}", model, torch.backends.cpu.get_cpu_capability()]
    return ", ".join(part for part in [*known, f"kernel {fingerprint()}"] if part)


def _cpuinfo() -> list[str]:
    """What Linux says of the processor; empty elsewhere."""
    file = Path("/proc/cpuinfo")
    return file.read_text().splitlines() if file.is_file() else []


def today() -> str:
    """The date, UTC."""
    return datetime.now(UTC).date().isoformat()
