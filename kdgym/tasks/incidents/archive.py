"""The questions of an incident, kept on disk beside its database: making them anew takes as long as making its logs."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from functools import lru_cache

from kdgym.storage import write_atomically
from kdgym.tasks.base import Split
from kdgym.tasks.incidents.database import incident_path
from kdgym.tasks.incidents.incident import recent_incident
from kdgym.tasks.incidents.questions import Question, ask
from kdgym.tasks.incidents.schema import Relation


@lru_cache(maxsize=512)
def questions_of(split: Split, index: int) -> tuple[Question, ...]:
    """All questions about an incident (`ask`), made on first use and kept in the user's cache."""
    path = incident_path(split, index, "json")
    if path.is_file():
        try:
            return tuple(_read(entry) for entry in json.loads(path.read_text()))
        except (ValueError, KeyError, TypeError):
            warnings.warn(f"{path} is damaged; the questions are made again.", RuntimeWarning, stacklevel=2)
    questions = ask(recent_incident(split, index))
    write_atomically(path, json.dumps([asdict(question) for question in questions]).encode())
    return questions


def _read(entry: dict[str, object]) -> Question:
    wanted, hops, path = entry.pop("wanted"), entry.pop("hops"), entry.pop("path")
    return Question(wanted=tuple(wanted), hops=tuple(Relation(*hop) for hop in hops), path=tuple(path), **entry)  # type: ignore
