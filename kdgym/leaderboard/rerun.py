"""Level 2: the agent itself teaches new students, chosen in secret, who are asked test problems drawn anew."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from kdgym.evaluation import NO_TEACHING, load_agent, make_unseen, teach
from kdgym.leaderboard.badges import Finding
from kdgym.leaderboard.drift import gain_spread
from kdgym.leaderboard.record import Record
from kdgym.leaderboard.sandbox.agent_sandbox import AgentSandbox, AgentSandboxError, Limits
from kdgym.leaderboard.sandbox.llm_proxy import LLMProxy
from kdgym.leaderboard.submit import Progress, open_board
from kdgym.leaderboard.trace import Rounded
from kdgym.leaderboard.verify import secret_generator
from kdgym.registration import find
from kdgym.untrusted import printable

Gains = npt.NDArray[np.float64]


class RerunError(RuntimeError):
    """This agent cannot be run again at all."""


_FIRST_SECRET_SEED, _LEVEL = 2 * 10**9, 0.99  # above the seeds of all boards; level of the test
NEW, MOST = 32, 1024  # new students, if nothing else is said; how many may be asked for
_TIMES = (
    2  # the new students' variance, that of a claim counts; honest claims fail in 1.3 % of cases, and in 1.2 % without
)
_DETECTED = 2.8  # standard errors of the smallest difference that a board detects in four of five cases
# Gains that are all equal have no spread at all; a thousandth is below what any board detects.
_SMALLEST = 1e-3
_MOVED = {  # modules that earlier records import, and where they lie today
    "kdgym.integrations.sb3_training": "kdgym.teaching.sb3_training",
    "kdgym.integrations.search": "kdgym.teaching.search",
    "kdgym.llm.teacher": "kdgym.teaching.language_model",
}


def rerun(
    record: Record,
    students: int | None = None,
    weights: Path | None = None,
    limits: Limits | None = None,
    progress: Progress = lambda steps, total: None,
    base_url: str | None = None,
) -> Finding:
    """Let the agent teach new students, in a sandbox, and see whether they gain as much as the claim says.

    Gain is over the board's first control on the same students, which removes most of the variance; the control
    teaches both the board's students and the new ones here. kdgym's own upper bounds run in this process: they need the
    environment, and the code that runs is ours, not the record's. A re-run that is better than the claim does not fail.

    Args:
        record: the submission; sound by `check`, and recognised by `replay` if it carries kdgym's name.
        students: how many new ones; 32, or as many as the board has if these are fewer, if left out.
        weights: the file that a trained agent needs; checked against the record's hash.
        limits: of the sandbox.
        progress: called after every step with the number of student-steps done in it, and of all.
        base_url: the endpoint where a language model's teacher finds the model that the record names.

    Returns:
        What was found; undecided where `exaggeration` says so.

    Raises:
        RerunError: the agent cannot be run again (a person; a language model without its endpoint, or whose endpoint does not
            answer; without its weights).
        RuntimeError: there is no sandbox on this machine.
        ValueError: fewer than 2 or more than 1,024 new students.
    """
    students = min(NEW, find(record.env_id).episodes) if students is None else students
    if not 2 <= students <= MOST:
        raise ValueError(f"students is {students}; a re-run takes 2 to {MOST} new ones.")
    rng = secret_generator(record, b"re-run")
    seeds = [_FIRST_SECRET_SEED + int(seed) for seed in rng.choice(2**40, students, replace=False)]
    fresh = _fresh(record.env_id, rng)
    envs = open_board(record.env_id, students, {**record.agent.settings, **fresh})
    control, what, widest = find(record.env_id).controls[0], "score", np.inf
    is_control = record.agent.kind == "control" and record.agent.name == control
    total = envs.steps * students * (1 if is_control else 2)

    def advance(steps: int) -> None:
        progress(steps, total)

    try:
        with _teacher(record, envs, weights, limits, base_url) as teacher:
            outcome, _ = teach(envs, teacher, seeds, advance)
    except AgentSandboxError as error:
        return Finding(False, f"the re-run failed: {error}")
    except ValueError as error:
        return Finding(False, printable(f"the environment refused an action: {error}"))
    claimed, found = np.array(record.outcome.after), outcome["after"]
    if not is_control:
        what = f"gain over {control}"
        claimed = claimed - _board_control(record.env_id, control, tuple(record.outcome.seeds))
        found = found - _control(record.env_id, control, seeds, advance, **fresh)
        widest = 2 * _DETECTED * gain_spread(record.env_id) / np.sqrt(len(claimed))
    passed, said = exaggeration(claimed, found, max(widest, abs(float(claimed.mean())) / 2))
    text = f"{what} of {students} new students is {found.mean():+.3f}; {said}"
    return Finding(passed, text, float(claimed.mean()), float(found.mean()), students)


def exaggeration(claimed: Gains, found: Gains, widest: float) -> tuple[bool | None, str]:
    """Whether a claim is not above what new students gained, by Welch's test, one-sided, at 99 %.

    Both samples' variances count, that of the claim up to twice that of the new students: a cheat that spoils some of the
    board's students on purpose spreads its claim, and not them. A wide interval lets anything pass, so nothing passes by it.

    Args:
        claimed, found: gains of the board's students and of new ones, [S] and [N].
        widest: the interval's largest half-width that a pass may rest on.

    Returns:
        True, False, or None where more new students are needed; and what that rests on, in words.
    """
    difference, reach = float(claimed.mean() - found.mean()), _reach(claimed, found, len(found))
    said = f"the claim of {claimed.mean():+.3f} may exceed that by {reach:.3f}"
    if difference > reach:
        return False, said
    if reach <= widest:
        return True, said
    enough = next((n for n in range(len(found) + 1, MOST + 1) if _reach(claimed, found, n) <= 0.9 * widest), None)
    said += f", which is too wide to decide ({widest:.3f} is not)"
    if enough is None:
        return None, f"{said}; {MOST} new students would not decide, as gains are spread too widely"
    return None, f"{said}: {enough} new students are needed (--students {enough})"


def _reach(claimed: Gains, found: Gains, students: int) -> float:
    """By how much a claim may exceed the mean of so many new students that are spread like those found."""
    spread = found.var(ddof=1)
    parts = np.array([min(claimed.var(ddof=1), _TIMES * spread) / len(claimed), spread / students])
    if not parts.sum() > 0:
        return _SMALLEST
    freedom = parts.sum() ** 2 / (parts**2 / (len(claimed) - 1, students - 1)).sum()
    return max(float(stats.t.ppf(_LEVEL, freedom) * np.sqrt(parts.sum())), _SMALLEST)


def _control(
    env_id: str, control: str, seeds: list[int], progress: Callable[[int], None] = lambda steps: None, **settings: Any
) -> npt.NDArray[np.float64]:
    """What students score whom the board's control teaches, [S]."""
    envs = make_unseen(env_id, control, len(seeds), **settings)
    scores: npt.NDArray[np.float64] = teach(envs, Rounded(load_agent(control, envs)), seeds, progress)[0]["after"]
    return scores


@lru_cache(maxsize=4)
def _board_control(env_id: str, control: str, seeds: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The same of the board's own students, who are those of all its records."""
    return _control(env_id, control, list(seeds))


def _fresh(env_id: str, rng: np.random.Generator) -> dict[str, Any]:
    """The setting that draws test problems anew, where an environment has it; elsewhere new students bring their own tasks."""
    envs: Any = open_board(env_id, 1, {})
    return {"test_draw": int(rng.integers(1, 2**40))} if "test_draw" in envs.unwrapped.settings else {}


def moved(source: str) -> str:
    """The code of an earlier record, with modules where they lie today; teachers themselves are found by their names alone."""
    for before, now in _MOVED.items():
        source = source.replace(f"from {before} import", f"from {now} import")
    return source


@contextmanager
def _teacher(
    record: Record, envs: Any, weights: Path | None, limits: Limits | None, base_url: str | None
) -> Iterator[Any]:
    agent = record.agent
    if agent.name == NO_TEACHING and record.trace is None:
        yield None
        return
    if agent.kind == "human":
        raise RerunError("a person cannot be run again; level 1 is the highest for them")
    if agent.kind == "llm" and (base_url is None or agent.model is None):
        raise RerunError(f"this agent asks the model {agent.model}: say where that is (--base-url), or stop at level 1")
    if agent.weights is not None:
        found = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
        if found != agent.weights:
            raise RerunError(
                f"the agent was trained: give the file with sha256 {agent.weights} (--weights), and not {found}"
            )
    if agent.kind == "oracle" and agent.name in find(record.env_id).upper_bounds:
        yield Rounded(load_agent(agent.name, envs))
        return
    spaces = envs.single_observation_space, envs.single_action_space
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        endpoint, file = None, None
        if agent.kind == "llm" and base_url is not None:
            endpoint = stack.enter_context(LLMProxy(base_url, str(agent.model)))
            limits = limits or Limits(act=1800.0)  # which language models need for many students
        if agent.source is not None:  # of an SB3 zip there is none
            file = Path(folder) / "agent.py"
            file.write_text(moved(agent.source), encoding="utf-8")
        try:
            sandbox = AgentSandbox("", spaces, file, weights if agent.weights else None, limits, endpoint=endpoint)
            yield Rounded(stack.enter_context(sandbox))
        except ValueError:
            _require_answers(endpoint)
            raise
        _require_answers(endpoint)


def _require_answers(endpoint: LLMProxy | None) -> None:
    """Whatever an agent did without its language model says nothing of the agent."""
    if endpoint is not None and endpoint.failure:
        raise RerunError(f"the endpoint {endpoint.failure}: no badge either way; see to it and start again")
