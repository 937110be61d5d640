"""A language model teaches, on every Skill-List and Open-Ended id: reads what a student can do or gets wrong, answers in JSON.

Open-Ended: it writes items after seeing errors; the rest of the money buys real ones. Skill-List: it weighs the skills, whose
sources share the money by their price. Where no usable answer comes, the student gets the control's lesson: real items, or
equal shares.
"""

import json
from typing import Annotated, Any

import numpy as np
from gymnasium.spaces import Text
from pydantic import BaseModel, Field, create_model

from kdgym.teaching.language_model import LanguageTeacher, WrittenItem, written_lesson

WRITTEN = 8  # most items the model writes a step
SHOWN = 6  # errors shown to it


class Cell(BaseModel):
    digit: Annotated[int, Field(ge=0, le=9)]


class Picture(BaseModel):
    cells: Annotated[list[Cell | None], Field(min_length=6, max_length=6)]
    question: Annotated[str, Field(max_length=400)]


class PictureItem(BaseModel):
    problem: Picture
    answer: Annotated[str, Field(max_length=400)]


class Agent(LanguageTeacher):
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0, **options: Any) -> None:
        super().__init__(observation_space, action_space, seed, **options)
        self.writes = isinstance(action_space, Text)
        if not self.writes:
            skills = observation_space["target"].shape[0]
            weight = Annotated[int, Field(ge=0, le=10)]
            weights = Annotated[list[weight], Field(min_length=skills, max_length=skills)]
            self.answer = create_model("Weights", weights=weights)

    def reset(self, observation: Any) -> None:
        if self.writes:
            errors = [error for text in observation for error in json.loads(text)["errors"]]
            item = PictureItem if any(isinstance(error["problem"], dict) for error in errors) else WrittenItem
            items = Annotated[list[item], Field(min_length=1, max_length=WRITTEN)]  # type: ignore[valid-type]
            self.answer = create_model("Items", items=items)

    def questions(self, seen: Any) -> list[str]:
        return [self._errors(seen) if self.writes else self._skills(seen)]

    def lesson(self, seen: Any, answers: list[Any]) -> Any:
        (answer,) = answers
        if self.writes:
            return written_lesson(answer.model_dump()["items"] if answer else [], seen)
        if not answer or not any(answer.weights):
            return np.zeros(self.action_space.shape, dtype=np.float32)
        sources = len(seen["price"]) // len(answer.weights)
        return self.action_space.encode(np.repeat(answer.weights, sources) / seen["price"])

    def _errors(self, seen: Any) -> str:
        shown = "\n".join(
            f"{json.dumps({'problem': error['problem'], 'answer': error['right']})} (the student said {error['given']!r})"
            for error in seen["errors"][:SHOWN]
        )
        return (
            f"The student has to learn problems like these, with their right answers:\n{shown}\n\nWrite {WRITTEN} new ones of "
            'the same kinds, in exactly the same form, as {"items": [...]}. Every answer has to be right.'
        )

    def _skills(self, seen: Any) -> str:
        lines = "\n".join(
            f"skill {k}: goal {target:.2f}, accuracy {accuracy:.2f}, last change {change:+.2f}"
            for k, (target, accuracy, change) in enumerate(
                zip(seen["target"], seen["accuracy"], seen["change"], strict=True)
            )
        )
        return (
            f"{lines}\n\nThe goal says how much a skill counts. Give every skill, in order, a weight from 0 to 10 for the next "
            f'lesson, as {{"weights": [...]}} with {len(seen["target"])} integers.'
        )
