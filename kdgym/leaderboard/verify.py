"""Verification: is a submission what it says? Each level is a badge, signed by who earned it for the record.

Level 0 checks what stands in the file. Level 1 replays the recorded actions of students in a fresh environment. On the same
kind of machine everything has to come out bit for bit, for students chosen in secret. Elsewhere all students are replayed: what
does not depend on rounding has to be equal, and the rest as close as honest replays were (`kdgym.leaderboard.drift`).
Records that carry kdgym's name are of kdgym's own agents. Level 1 recognises them by what they do: the agent of that name looks
at the same students, and has to decide as recorded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdgym.catalogue import packaged
from kdgym.evaluation import NO_TEACHING, load_agent, teach
from kdgym.leaderboard.badges import KEY, Finding, is_genuine
from kdgym.leaderboard.board import standing
from kdgym.leaderboard.drift import (
    DECISIONS,
    EXACT,
    SCORES,
    WIDEST,
    Measured,
    decisions,
    differences,
    measured,
    reach,
    too_far,
)
from kdgym.leaderboard.names import OWN, fold
from kdgym.leaderboard.record import Outcome, Record
from kdgym.leaderboard.submit import Progress, as_outcome, fits_board, open_board, processor
from kdgym.leaderboard.trace import Replay, Rounded
from kdgym.registration import find
from kdgym.untrusted import printable

_KINDS = {"Box": "box", "MultiDiscrete": "choices", "Text": "text"}
RESERVED = ("control", "published", "oracle")  # kinds of kdgym's own agents
# By how much decisions may differ elsewhere, by the actions' kind, see `_distance`; more where more was measured. Between
# kernels with and without fused multiply-add, rules differed by 0.1 or less, and writers of text by 0.14. Rules that are closer
# than this, such as stat and target_proportional (0.01), are distinguished on the record's own kind of machine only.
# Upper bounds that try actions out choose another one among those that are nearly as good (bid_planner: 0.19).
ELSEWHERE_ACTIONS = {"box": 0.1, "choices": 0.1, "text": 0.25, "oracle": 0.25}
# Earlier records name a kernel by a hash of its source, the compiler and the processor; the fingerprint of its outputs.
EARLIER_KERNELS = {"321636ba": "8c0b8f5a", "5a470297": "8c0b8f5a"}


def check(record: Record) -> Finding:
    """Level 0: seeds are the board's, the trace fits the actions, kdgym's names are for kdgym's, badges are genuine."""
    problems = []
    if not fits_board(record.env_id, record.outcome.seeds, record.agent.kind):
        problems.append("the student seeds are not the board's")
    known = [name for name, kind in standing(record.env_id) if kind == record.agent.kind]
    if record.agent.kind in RESERVED and record.agent.name not in known:
        problems.append(f"kind {record.agent.kind!r} is here for {', '.join(known)}, not for {record.agent.name}")
    # Boards of another package are filled with its teachers, whose code is installed as kdgym's own is.
    if is_own(record) and record.agent.name not in {NO_TEACHING, *packaged()}:
        problems.append(f"the author is kdgym, and {record.agent.name} is no installed teacher")
    if record.trace is None:
        if record.agent.source is not None or record.agent.name != NO_TEACHING:
            problems.append("there is no trace of actions")
    else:
        problems += _check_trace(record)
    problems += [
        f"badge {i + 1} is not genuine" for i, badge in enumerate(record.badges) if not is_genuine(record, badge)
    ]
    seeds = len(record.outcome.seeds)
    return Finding(not problems, "; ".join(problems) or f"the file is sound: {seeds} students, {record.agent.kind}")


def is_own(record: Record) -> bool:
    """Whether a record says that it is of kdgym's own teachers: by its kind, or a rule by its author or name.

    Trained teachers are not among them, because they are recognised by their weights only.
    """
    agent = record.agent
    ours = agent.name in _packaged() or any(fold(author) == fold(OWN) for author in agent.authors)
    return agent.kind in RESERVED or (agent.kind == "rule" and ours)


@cache
def _packaged() -> frozenset[str]:
    """Names of the teachers that come with kdgym."""
    return frozenset(name for name, agent in packaged().items() if agent.module.startswith("kdgym.agents."))


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
    except (ValueError, RecursionError) as error:  # of lists within lists
        return [printable(error)]
    return []


def replay(
    record: Record, students: int = 8, progress: Progress = lambda steps, total: None, exact: bool = False
) -> Finding:
    """Level 1: let fresh students go through the recorded actions, and compare all that is measured of them.

    Args:
        record: the submission; sound by `check`.
        students: how many, chosen by a secret and the record. All of them if there are no more; on another kind of machine;
            where students of another population would agree to rounding only; and of a record that carries kdgym's name.
        progress: called after every step with the number of student-steps done in it, and of all.
        exact: ask for equal bits also on another kind of machine.
    """
    number, place = len(record.outcome.seeds), _elsewhere(record)
    own = is_own(record)
    few = students < number and not place and not own and _open(record, 1).independent
    try:
        again = _teach_again(record, _choose(record, students) if few else range(number), progress, own)
    except (ValueError, RecursionError) as error:
        return Finding(False, f"the replay was refused: {printable(error)}")
    if record.trace is not None and record.trace.steps != again.steps:
        return Finding(False, f"the episode ends after {again.steps} of the trace's {record.trace.steps} steps")
    if again.decided is not None and not (recognised := _compare_actions(record, again.decided, place)).passed:
        return recognised
    unequal = [i for i in range(len(again.claimed.seeds)) if not _is_equal(again.parts, i)]
    if not unequal:
        return Finding(True, f"{len(again.claimed.seeds)} students replayed bit for bit")
    if place and not exact:
        return _compare_elsewhere(record, again, place)
    claimed, found = again.claimed, again.found
    scored = [f"student {claimed.seeds[i]} scored {found.after[i]:.4f}, not {claimed.after[i]:.4f}" for i in unequal]
    return Finding(False, _some(scored))


def drift_of(record: Record, progress: Progress = lambda steps, total: None) -> Measured:
    """What all students of a record have more here than it says, by measure, each [S, k]; see `kdgym.leaderboard.drift`.

    Of kdgym's own teachers also by how much they decide otherwise, [1, 1].
    """
    again = _teach_again(record, range(len(record.outcome.seeds)), progress, is_own(record))
    if again.decided is None:
        return again.parts
    return again.parts | {DECISIONS: np.array([[_other_decisions(record, again.decided)]])}


@dataclass(frozen=True)
class _Again:
    """A replay: the population, what was claimed and found of its students, and their `differences`.

    ``steps`` is the length of the episode, and ``decided`` what kdgym's own agent decided in it, None of others' records.
    """

    envs: Any
    claimed: Outcome
    found: Outcome
    parts: Measured
    steps: int
    decided: list[Any] | None


def _teach_again(record: Record, chosen: Sequence[int], progress: Progress, own: bool) -> _Again:
    """Let the chosen students of a record go through its actions.

    Raises:
        ValueError: the actions are refused, or what came out has other shapes.
        RecursionError: an action is text of lists within lists.
    """
    envs, teacher = _open(record, len(chosen)), _recorded_teacher(record, chosen)
    shadow = _Shadow(load_agent(record.agent.name, envs), teacher) if own and teacher else None
    total, claimed = envs.steps * len(chosen), _part(record.outcome, chosen)
    taught, actions = teach(envs, shadow or teacher, claimed.seeds, lambda steps: progress(steps, total))
    found = as_outcome(taught)
    parts = differences(claimed, found, _hidden(record))
    return _Again(envs, claimed, found, parts, len(actions), shadow.actions if shadow else None)


def _open(record: Record, students: int) -> Any:
    return open_board(record.env_id, students, record.agent.settings)


def _recorded_teacher(record: Record, chosen: Sequence[int]) -> Replay | None:
    """A teacher of these students who does what was written down."""
    if record.trace is None:
        return None
    steps = record.trace.actions()
    return Replay([[step[i] for i in chosen] if isinstance(step, list) else step[list(chosen)] for step in steps])


class _Shadow:
    """One of kdgym's own agents, which decides on all that it sees, while the students are taught what the record says.

    So a difference in one step does not grow in the steps after it.
    """

    def __init__(self, agent: Any, recorded: Replay) -> None:
        self._agent, self._recorded, self.actions = Rounded(agent), recorded, list[Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    def act(self, observation: Any) -> Any:
        self.actions.append(self._agent.act(observation))
        return self._recorded.act(observation)


def _hidden(record: Record) -> tuple[str, ...]:
    """Actors whose costs do not replay: what a language model spent on its own decisions is not in its actions."""
    return ("teacher",) if record.agent.kind == "llm" else ()


def _part(outcome: Outcome, chosen: Sequence[int]) -> Outcome:
    """The outcome of some students."""
    columns = {
        name: [getattr(outcome, name)[i] for i in chosen]
        for name in ("seeds", "before", "after", "right", "asked", "curve")
    }
    cost = {a: {u: [amounts[i] for i in chosen] for u, amounts in units.items()} for a, units in outcome.cost.items()}
    return Outcome.model_construct(None, **columns, cost=cost)


def _is_equal(parts: Measured, student: int) -> bool:
    """Whether a student came out as recorded; sums of costs depend on the order of a population."""
    return all(
        np.abs(part[student]).max(initial=0.0) <= (EXACT if " of " in name and name not in SCORES else 0.0)
        for name, part in parts.items()
    )


def _elsewhere(record: Record) -> str:
    """Empty on the kind of machine that the record is from, where bits are equal; else words for the difference."""
    there, here = record.conditions, processor()
    named = there.processor
    for source, outputs in EARLIER_KERNELS.items():
        named = named.replace(f"kernel {source}", f"kernel {outputs}")
    if (here, torch.__version__, np.__version__) == (named, there.torch, there.numpy):
        return ""
    versions = [f"{what} {printable(version, 20)}" for what, version, ours in (
        ("torch", there.torch, torch.__version__), ("numpy", there.numpy, np.__version__)) if version != ours]  # fmt: skip
    return f"on another kind of machine ({here}, not {', '.join([printable(there.processor, 80), *versions])})"


def _compare_elsewhere(record: Record, again: _Again, place: str) -> Finding:
    """Whether the outcome differs from the claim by no more than honest replays on other kinds of machine do."""
    if record.env_id not in measured():
        said = "this board's drift between kinds of machine was not measured, and the replay differs"
        return Finding(
            None, f"{said} {place}; replay it on the record's kind (--exact), or run: kdgym leaderboard drift"
        )
    rule, problems = _rule(record, again), too_far(record.env_id, again.parts)
    if rule is not None and not np.allclose(rule(again.claimed), again.claimed.after, rtol=0, atol=EXACT):
        problems.insert(0, "the scores are not those of the right answers")
    if problems:
        return Finding(False, f"{_some(problems)} ({place})")
    allowed = reach(record.env_id, find(record.env_id).episodes)
    if allowed > WIDEST:
        said = (
            f"replays there differ by up to {allowed:.2f} on this board, so they decide nothing unless bits are equal"
        )
        return Finding(None, f"{place}: {said}; replay it on the record's kind (--exact)")
    said = f"the mean score differs by {float(again.parts['after'].mean()):+.4f}, no more than that of honest replays"
    return Finding(True, f"{len(again.claimed.seeds)} students replayed {place}: {said}")


def _some(problems: list[str]) -> str:
    """The first few."""
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")


def _rule(record: Record, again: _Again) -> Callable[[Outcome], npt.NDArray[np.float64]] | None:
    """How scores follow from right answers on this board; None where they do not, as with returns."""
    told, settings, found = again.envs.examine("test"), again.envs.unwrapped.settings, again.found

    def by_target(outcome: Outcome) -> npt.NDArray[np.float64]:
        shares = np.array(outcome.right) / np.maximum(np.array(outcome.asked), 1)
        return np.asarray((told["target"].astype(np.float64) * shares).sum(1))

    def by_worth(outcome: Outcome) -> npt.NDArray[np.float64]:
        spent = sum(np.array(units["money"]) for units in outcome.cost.values())
        return np.asarray((np.array(outcome.right).sum(1) - spent / settings["worth"]) / settings["tasks"])

    rules = [by_target] if "target" in told else []
    rules += [by_worth] if "worth" in settings and not _hidden(record) else []
    return next((rule for rule in rules if np.allclose(rule(found), found.after, rtol=0, atol=EXACT)), None)


def _compare_actions(record: Record, actions: list[Any], elsewhere: str) -> Finding:
    """Whether kdgym's own agent decided as the record says, on the same students."""
    assert record.trace is not None
    difference, largest = _other_decisions(record, actions), 0.0
    if elsewhere:
        kind = "oracle" if record.agent.kind == "oracle" else record.trace.kind
        largest = max(ELSEWHERE_ACTIONS[kind], 1.5 * decisions(record.env_id))
    said = f"the actions of kdgym's {record.agent.name} differ by {difference:.4f} {elsewhere or 'here'}"
    return Finding(difference <= largest, f"{said}; {largest:.2g} is allowed")


def _other_decisions(record: Record, actions: list[Any]) -> float:
    """How far decided actions are from those of a record, mean over the steps; see `_distance`."""
    assert record.trace is not None
    return float(np.mean([_distance(one, other) for one, other in zip(record.trace.actions(), actions, strict=True)]))


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


def _choose(record: Record, students: int) -> list[int]:
    """Places of students, chosen in secret."""
    chosen = secret_generator(record, b"replay").permutation(len(record.outcome.seeds))[:students]
    return sorted(chosen.tolist())


def secret_generator(record: Record, purpose: bytes) -> np.random.Generator:
    """Draws that cannot be predicted without the verifier's secret; ordinary draws, if there is none."""
    key = bytes.fromhex(os.environ[KEY]) if KEY in os.environ else secrets.token_bytes(32)
    seed = hmac.new(key, purpose + record.claim(), hashlib.sha256).digest()
    return np.random.default_rng(int.from_bytes(seed[:16], "big"))
