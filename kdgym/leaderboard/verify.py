"""Verification: is a submission what it says? Each level is a badge, signed by who earned it for the record.

Level 0 checks what stands in the file. Level 1 replays the recorded actions of some students, chosen in secret, in a fresh
environment: on the same kind of machine everything has to come out bit for bit, elsewhere the mean score within a tolerance.
Records that a board is built on (controls, published rules, upper bounds) are of kdgym's own agents. Level 1 recognises them
by what they do: the agent of that name teaches all of the record's students again, and has to take the recorded actions.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from kdgym.evaluation import load_agent, teach
from kdgym.leaderboard.badges import KEY, Finding, is_genuine
from kdgym.leaderboard.board import standing
from kdgym.leaderboard.record import Conditions, Outcome, Record
from kdgym.leaderboard.submit import Progress, as_outcome, conditions, fits_board, open_board
from kdgym.leaderboard.trace import Replay, Rounded

_KINDS = {"Box": "box", "MultiDiscrete": "choices", "Text": "text"}
_SUMS = 1e-9  # sums of money depend on the order of a population's
RESERVED = ("control", "published", "oracle")  # kinds of kdgym's own agents
# Of the mean score of replayed students, on another kind of machine: sums are rounded otherwise there, and what a single
# student learns from the same lessons may then be quite different.
ELSEWHERE = 0.1
# The same of 32 students or more. Of eight, honest records of another processor differed by 0.074 or less, of 64 by 0.013.
ELSEWHERE_MANY = 0.03
# Of the actions there, by their kind, see `_distance`. Between kernels with and without fused multiply-add, published rules
# differed by 0.045 (atlas) or less, and llm2llm's texts by 0.09 to 0.12. Rules that are closer to each other than this, such
# as stat and target_proportional (0.01), are distinguished on the record's own kind of machine only; texts differ by 0.79.
ELSEWHERE_ACTIONS = {"box": 0.1, "choices": 0.1, "text": 0.25}
# Earlier records name a kernel by a hash of its source, the compiler and the processor; the fingerprint of its outputs.
EARLIER_KERNELS = {"321636ba": "8c0b8f5a", "5a470297": "8c0b8f5a"}


def check(record: Record) -> Finding:
    """Level 0: seeds are the board's, the trace fits the actions, reserved kinds are packaged agents, badges are genuine."""
    problems = []
    if not fits_board(record.env_id, record.outcome.seeds, record.agent.kind):
        problems.append("the student seeds are not the board's")
    known = [name for name, kind in standing(record.env_id) if kind == record.agent.kind]
    if record.agent.kind in RESERVED and record.agent.name not in known:
        problems.append(f"kind {record.agent.kind!r} is here for {', '.join(known)}, not for {record.agent.name}")
    if record.trace is None:
        if record.agent.source is not None or record.agent.name != "no teaching":
            problems.append("there is no trace of actions")
    else:
        problems += _check_trace(record)
    problems += [
        f"badge {i + 1} is not genuine" for i, badge in enumerate(record.badges) if not is_genuine(record, badge)
    ]
    seeds = len(record.outcome.seeds)
    return Finding(not problems, "; ".join(problems) or f"the file is sound: {seeds} students, {record.agent.kind}")


@lru_cache
def _form_of_actions(env_id: str, settings: tuple[tuple[str, str], ...]) -> tuple[str, int, int]:
    """Kind and width of a board's actions, and the length of an episode; some environments take long to open."""
    envs = open_board(env_id, 1, dict(settings))
    space = envs.single_action_space
    kind = next(name for base, name in _KINDS.items() if any(c.__name__ == base for c in type(space).__mro__))
    return kind, 0 if kind == "text" else int(np.prod(space.shape)), envs.steps


def _check_trace(record: Record) -> list[str]:
    trace = record.trace
    assert trace is not None
    kind, width, steps = _form_of_actions(record.env_id, tuple(record.agent.settings.items()))
    if (trace.kind, trace.width, trace.students) != (kind, width, len(record.outcome.seeds)):
        given = f"{trace.kind}, {trace.width} wide, of {trace.students} students"
        return [f"the trace is {given}; the actions here are {kind}, {width} wide, of {len(record.outcome.seeds)}"]
    if trace.steps > steps:
        return [f"the trace has {trace.steps} steps; an episode has {steps}"]
    try:
        trace.actions()
    except ValueError as error:
        return [str(error)]
    return []


def replay(
    record: Record,
    students: int = 8,
    tolerance: float | None = None,
    progress: Progress = lambda steps, total: None,
    elsewhere: float = ELSEWHERE,
) -> Finding:
    """Level 1: let fresh students go through the recorded actions, and compare all that is measured of them.

    Of a reserved kind, kdgym's own agent of that name teaches in place of the recorded actions, which it has to take.

    Args:
        record: the submission; sound by `check`.
        students: how many, chosen by a secret and the record; all of them if there are no more, where students of another
            population would agree to rounding only, and of a reserved kind.
        tolerance: largest difference of the mean score, before and after; 0 is bit for bit. If left out, that is asked for
            on the kind of machine that the record is from, and ``elsewhere`` on others.
        progress: called after every step with the number of student-steps done in it, and of all.
        elsewhere: see ``tolerance``.
    """
    number = len(record.outcome.seeds)
    own = record.agent.kind in RESERVED and record.trace is not None
    chosen = list(range(number)) if own else _choose(record, min(students, number))
    envs = open_board(record.env_id, len(chosen), record.agent.settings)
    if not envs.independent and len(chosen) < number:  # then all of them have to be there
        chosen, envs = list(range(number)), open_board(record.env_id, number, record.agent.settings)
    teacher = Rounded(load_agent(record.agent.name, envs)) if own else _recorded_teacher(record, chosen)
    try:
        total, seeds = envs.steps * len(chosen), [record.outcome.seeds[i] for i in chosen]
        outcome, actions = teach(envs, teacher, seeds, lambda steps: progress(steps, total))
    except ValueError as error:
        return Finding(False, f"the replay was refused: {error}")
    place = _elsewhere(record, conditions(envs))
    if own:
        finding = _compare_actions(record, actions, place)
        if not finding.passed:
            return finding
    allowed = (elsewhere if place else 0.0) if tolerance is None else tolerance
    return _compare_outcomes(record, as_outcome(outcome), chosen, place, allowed)


def _recorded_teacher(record: Record, chosen: list[int]) -> Replay | None:
    """A teacher of these students who does what was written down."""
    if record.trace is None:
        return None
    steps = record.trace.actions()
    return Replay([[step[i] for i in chosen] if isinstance(step, list) else step[chosen] for step in steps])


def _elsewhere(record: Record, here: Conditions) -> str:
    """Empty on the kind of machine that the record is from, where bits are equal; else words for the difference."""
    there = record.conditions
    processor = there.processor
    for source, outputs in EARLIER_KERNELS.items():
        processor = processor.replace(f"kernel {source}", f"kernel {outputs}")
    if (here.processor, here.torch, here.numpy) == (processor, there.torch, there.numpy):
        return ""
    return f"on another kind of machine ({here.processor}, not {there.processor})"


def _compare_actions(record: Record, actions: list[Any], elsewhere: str) -> Finding:
    """Whether kdgym's own agent did what the record says, on the same students."""
    assert record.trace is not None
    claimed, agent = record.trace.actions(), f"kdgym's {record.agent.name}"
    if len(claimed) != len(actions):
        return Finding(False, f"{agent} teaches for {len(actions)} steps here, not {len(claimed)}")
    difference = [_distance(one, other) for one, other in zip(claimed, actions, strict=True)]
    largest = ELSEWHERE_ACTIONS[record.trace.kind] if elsewhere else 0.0
    said = f"the actions of {agent} differ by {np.mean(difference):.4f} {elsewhere or 'here'}; {largest} is allowed"
    return Finding(bool(np.mean(difference) <= largest), said)


def _distance(claimed: Any, found: Any) -> float:
    """Of one step's actions: of numbers the mean absolute difference, of choices the share of others, of texts the mean share
    of items that are not in both."""
    if isinstance(claimed, list):
        return float(
            np.mean([_unshared(Counter(_items(a)), Counter(_items(b))) for a, b in zip(claimed, found, strict=True)])
        )
    if np.issubdtype(claimed.dtype, np.floating):
        return float(np.abs(claimed - found).mean())
    return float((claimed != found).mean())


def _unshared(one: Counter[str], other: Counter[str]) -> float:
    largest = max(one.total(), other.total())
    return 1 - (one & other).total() / largest if largest else 0.0


def _items(text: str) -> list[str]:
    """The items of a written lesson, or the text itself where it is no list."""
    try:
        items = json.loads(text)
    except ValueError:
        return [text]
    return [json.dumps(item, sort_keys=True) for item in items] if isinstance(items, list) else [text]


def _compare_outcomes(record: Record, found: Outcome, chosen: list[int], elsewhere: str, tolerance: float) -> Finding:
    """Whether the chosen students learned what the record says."""
    claimed = record.outcome
    differ = [
        f"student {claimed.seeds[i]} scored {found.after[place]:.4f}, not {claimed.after[i]:.4f}"
        for place, i in enumerate(chosen)
        if not _is_equal(record, found, place, i)
    ]
    if not differ:
        return Finding(True, f"{len(chosen)} students replayed bit for bit")
    if tolerance == 0:
        return Finding(False, "; ".join(differ[:3]) + (f"; and {len(differ) - 3} more" if len(differ) > 3 else ""))
    means = [
        (np.mean([getattr(claimed, name)[i] for i in chosen]), np.mean(getattr(found, name)))
        for name in ("before", "after")
    ]
    distance, where = max(abs(float(a - b)) for a, b in means), elsewhere or "here"
    said = f"the mean score of {len(chosen)} students differs by {distance:.4f} {where}; {tolerance} is allowed"
    return Finding(distance <= tolerance, said)


def _is_equal(record: Record, found: Outcome, place: int, i: int) -> bool:
    """Whether the replayed student at ``place`` is the claimed one of number ``i``, bit for bit."""
    claimed = record.outcome
    same = all(
        getattr(claimed, name)[i] == getattr(found, name)[place]
        for name in ("before", "after", "curve", "right", "asked")
    )
    return same and np.allclose(_costs(record, claimed, i), _costs(record, found, place), rtol=_SUMS, atol=0)


def _costs(record: Record, outcome: Outcome, student: int) -> list[float]:
    """What was spent on a student; what a language model spent on its own decisions is not in its actions."""
    hidden = ("teacher",) if record.agent.kind == "llm" else ()
    kept = sorted((actor, units) for actor, units in outcome.cost.items() if actor not in hidden)
    return [units[unit][student] for _, units in kept for unit in sorted(units)]


def _choose(record: Record, students: int) -> list[int]:
    """Places of students, chosen in secret."""
    chosen = secret_generator(record, b"replay").permutation(len(record.outcome.seeds))[:students]
    return sorted(chosen.tolist())


def secret_generator(record: Record, purpose: bytes) -> np.random.Generator:
    """Draws that cannot be predicted without the verifier's secret; ordinary draws, if there is none."""
    key = bytes.fromhex(os.environ[KEY]) if KEY in os.environ else secrets.token_bytes(32)
    seed = hmac.new(key, purpose + record.claim(), hashlib.sha256).digest()
    return np.random.default_rng(int.from_bytes(seed[:16], "big"))
