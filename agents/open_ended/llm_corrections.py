"""Corrections written against the student's own mistake, after learning from tailored rationales (Wang and Li, "Democratizing
reasoning ability: tailored learning from large language model", EMNLP 2023). The model reads problem, wrong answer and right
answer, says what went wrong, and writes the item that would have shown it.

Students here learn problems and answers and read no rationales, so the corrected problem stands in for the rationale: the error
comes back with its right answer, and the model's item beside it. Where no usable answer comes, the error alone comes back.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from kdgym.teaching.language_model import LanguageTeacher
from kdgym.teaching.text import filled

SHOWN = 8  # errors of a step, a call each


class Correction(BaseModel):
    mistake: Annotated[str, Field(max_length=200)]  # first, so that the item is written with it in mind
    problem: Annotated[str, Field(max_length=400)]
    answer: Annotated[str, Field(max_length=400)]


class Agent(LanguageTeacher):
    answer = Correction

    def questions(self, seen: Any) -> list[str]:
        return [
            f"Problem: {error['problem']}\nThe student answered: {error['given']}\nRight answer: {error['right']}\n\nSay in "
            "a few words what mistake the student made. Then write one problem in exactly the same form in which the same "
            "mistake would lead to a wrong answer, and its right answer."
            for error in seen["errors"][:SHOWN]
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> str:
        items = []
        for error, correction in zip(seen["errors"], answers, strict=False):
            items.append({"problem": error["problem"], "answer": error["right"]})
            if correction is not None:
                items.append({"problem": correction.problem, "answer": correction.answer})
        return filled(items, seen["items"])
