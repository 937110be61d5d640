"""The student's own model as its teacher, knowing more than the student: SSB, a self-teacher with right and wrong hints.

The model that learns is asked again about a problem it failed, this time with the right answer and its own wrong one beside it,
and writes its answer in its own words. Only what agrees with the right answer is practised (SSB's filter); the rest of the
lesson is real items. Give the student's model as ``--model``. Its weights are the base's: what the student learned meanwhile
is not in them.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from kdgym.teaching.language_model import LanguageTeacher
from kdgym.teaching.text import filled

SHOWN = 8  # errors of a step, a call each


class Solution(BaseModel):
    thought: Annotated[str, Field(max_length=200)]  # first, so that the answer comes out of it
    answer: Annotated[str, Field(max_length=400)]


class Agent(LanguageTeacher):
    answer = Solution
    system = "You solve problems. Answer in JSON."

    def questions(self, seen: Any) -> list[str]:
        return [
            f"Problem: {error['problem']}\n\nHints: {error['right']} is right, {error['given']} is wrong. Say briefly why, "
            'then give the answer in the form it is asked for, as {"thought": "...", "answer": "..."}.'
            for error in seen["errors"][:SHOWN]
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> str:
        items = [
            {"problem": error["problem"], "answer": solution.answer.strip()}
            for error, solution in zip(seen["errors"], answers, strict=False)
            if solution is not None and _plain(solution.answer) == _plain(error["right"])
        ]
        return filled(items, seen["items"])


def _plain(answer: str) -> str:
    return " ".join(answer.lower().split()).rstrip(".")
