"""The questions of an incident, kept on disk beside its database: making them anew takes as long as making its logs."""

from __future__ import annotations

import warnings
from functools import lru_cache

from pydantic import TypeAdapter, ValidationError

from kdgym.storage import write_atomically
from kdgym.tasks.base import Split
from kdgym.tasks.incidents.database import incident_path
from kdgym.tasks.incidents.incident import recent_incident
from kdgym.tasks.incidents.questions import Question, ask

_QUESTIONS = TypeAdapter(tuple[Question, ...])


@lru_cache(maxsize=512)
def questions_of(split: Split, index: int) -> tuple[Question, ...]:
    """All questions about an incident (`ask`), made on first use and kept in the user's cache."""
    path = incident_path(split, index, "json")
    if path.is_file():
        try:
            return _QUESTIONS.validate_json(path.read_bytes())
        except ValidationError:
            warnings.warn(f"{path} is damaged; the questions are made again.", RuntimeWarning, stacklevel=2)
    questions = ask(recent_incident(split, index))
    write_atomically(path, _QUESTIONS.dump_json(questions))
    return questions
