"""Security incidents to investigate by SQL: generated logs with an attack in them, questions about it, and exact scores."""

from kdgym.tasks.incidents.archive import questions_of
from kdgym.tasks.incidents.database import Answer, Database, QueryError, open_database
from kdgym.tasks.incidents.incident import Alert, Incident, make_incident
from kdgym.tasks.incidents.questions import Question, Solution, ask, solutions
from kdgym.tasks.incidents.schema import RELATIONS, TABLES, Relation

__all__ = [
    "RELATIONS",
    "TABLES",
    "Alert",
    "Answer",
    "Database",
    "Incident",
    "QueryError",
    "Question",
    "Relation",
    "Solution",
    "ask",
    "make_incident",
    "open_database",
    "questions_of",
    "solutions",
]
