"""Episodes of the Orchestrate family as JSONL, one line a task, and as a page to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from kdgym.core import ledger
from kdgym.envs.orchestrate.orchestrate import Orchestrate
from kdgym.envs.orchestrate.supervision import LANES

Policy = Callable[[dict[str, np.ndarray]], Any]  # from observations to actions


def require_lanes(envs: Any) -> None:
    """Refuse a population of another family.

    Raises:
        ValueError: it has no lanes.
    """
    if not isinstance(envs, Orchestrate):
        raise ValueError(f"{envs.spec.id} has no lanes and no notes; ids with them begin with kdgym/Orchestrate-.")


def trace(
    envs: Any, act: Policy, out: Path, *, first_seed: int, progress: Callable[[int], None] = lambda tasks: None
) -> int:
    """Let a teacher orchestrate students for an episode, and write down every task as a line of JSON.

    A line has the ``student`` (its seed), the ``task`` (its number), its ``key`` and features (``about``), ``uncertainty``, the
    ``lane``, the ``note`` the student started from, the ``events`` in their order (attempts with what the world logs of them,
    verdicts, advice, the judge's score, what was noted or pruned), ``success``, ``money`` and ``cost`` by actor and unit.

    Args:
        envs: a population of the Orchestrate family that does not start over by itself.
        act: the teacher; where it has ``after_step(reward, done)``, it is told what came of every step.
        out: the file.
        first_seed: of the students.
        progress: called after every step with the number of student-steps done.

    Returns:
        The number of lines.

    Raises:
        ValueError: the environment is of another family.
    """
    require_lanes(envs)
    observation, _ = envs.reset(seed=first_seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    lines, finished = 0, np.zeros(envs.num_envs, dtype=bool)
    with out.open("w", encoding="utf-8") as file:
        while not finished.all():
            keys, number = envs.state["key"].tolist(), envs.state["step"].tolist()
            seen, action = observation, act(observation)
            observation, reward, terminated, *_ = envs.step(action)
            if hasattr(act, "after_step"):
                act.after_step(reward, terminated)
            for student, entry in enumerate(_entries(envs)):
                if not finished[student]:
                    task = {
                        "student": int(envs.state["seed"][student]),
                        "task": number[student] + 1,
                        "key": envs.world.keys[keys[student]],
                        "about": dict(zip(envs.world.features, seen["task"][student].tolist(), strict=True)),
                        "uncertainty": float(seen["uncertainty"][student, 0]),
                    }
                    file.write(json.dumps(task | entry, allow_nan=False) + "\n")
                    lines += 1
            finished |= terminated
            progress(envs.num_envs)
    return lines


def _entries(envs: Any) -> Iterator[dict[str, Any]]:
    """What became of everybody's last task."""
    session, says = envs.session, envs.world.advices
    money = ledger.UNITS.index("money")
    for student, bill in enumerate(session.bill.tolist()):
        note = int(session.note[student])
        yield {
            "lane": LANES[int(session.lane[student])],
            "note": says[note] if note >= 0 else None,
            "events": session.events[student],
            "success": bool(session.score[student] == 1),
            "money": sum(units[money] for units in bill),
            "cost": {
                actor: dict(zip(ledger.UNITS, units, strict=True))
                for actor, units in zip(ledger.ACTORS, bill, strict=True)
                if any(units)
            },
        }


def timeline(file: Path, out: Path) -> int:
    """Make a page of a trace; returns the number of tasks on it.

    Raises:
        ValueError: the file holds no trace.
    """
    tasks = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            task = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}, line {number} is no JSON ({error}).") from error
        if not isinstance(task, dict) or not {"student", "task", "lane", "events", "money"} <= task.keys():
            raise ValueError(f"{file}, line {number} is no task of a trace; kdgym lanes trace writes such files.")
        tasks.append(task)
    if not tasks:
        raise ValueError(f"{file} is empty.")
    students: dict[int, list[dict[str, Any]]] = {}
    for task in tasks:
        students.setdefault(task["student"], []).append(task)
    template = Environment(
        loader=PackageLoader("kdgym.envs.orchestrate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("timeline.html")
    most = max(task["money"] for task in tasks)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(template.render(students=students, lanes=LANES, most=most or 1.0, name=file.name), encoding="utf-8")
    return len(tasks)
