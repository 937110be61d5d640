"""What a teacher cost in money, and what it wrote that it should not have."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from kdgym.leaderboard.record import Record
from kdgym.leaderboard.submit import open_board
from kdgym.tasks.base import UnreadableError


@cache
def prices() -> dict[str, Any]:
    """The dated price file, ``kdgym/leaderboard/prices.json``: per million tokens, by the model's name at its endpoint."""
    read: dict[str, Any] = json.loads(files("kdgym.leaderboard").joinpath("prices.json").read_text(encoding="utf-8"))
    return read


def dollars(record: Record) -> float | None:
    """What the teacher's tokens cost, a student, in US dollars; None where no price is known.

    The ledger does not tell prompts from answers, so all count at the dearer price: an upper bound.
    """
    price = prices()["per_million_tokens"].get(record.agent.model)
    if price is None:
        return None
    tokens = float(np.mean(record.outcome.cost["teacher"]["tokens"]))
    return tokens * float(max(price.values())) / 1e6


def written_items(record: Record) -> tuple[int, int] | None:
    """How many training items the teacher wrote, and how many of those are problems held out for examinations.

    The environment refuses these: students never learn them. None where teachers do not write.
    """
    if record.trace is None or record.trace.kind != "text":
        return None
    task = open_board(record.env_id, 1, record.agent.settings).task

    @cache
    def held_out(problem: str) -> bool:
        try:
            task.read_problem(json.loads(problem))
        except UnreadableError as error:
            return error.reason == "held_out"
        return False

    problems = [json.dumps(p) for step in record.trace.actions() for text in step for p in _problems(text)]
    return len(problems), sum(map(held_out, problems))


def _problems(text: str) -> list[Any]:
    """Problems of a lesson's items, whatever else it is."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = [item.get("problem") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [problem for problem in found if isinstance(problem, str | dict)]
