"""A language model comments in words on the student's own attempt, as ThinkTuning's teacher does (RRV et al., EMNLP 2025). It
points to a mistake and says how to go on, without the answer. For Feedback with language-model students.

Which attempts, and how its words count, is ThinkTuning's fixed rule. Where no usable comment comes, nothing is said.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field

from kdgym.teaching.language_model import LanguageTeacher

RULE = {"fraction": 0.25, "which": "wrong", "kind": "next_step", "shaping": "advantage_aware", "weight": 1}
# What each of ThinkTuning's behaviours is, in our reading of their names; the rule's kind stands for self-critique.
BEHAVIOURS = {
    "self-conflict": "doubt this and say what speaks against it",
    "self-critique": "say where it goes wrong and what to try next",
    "self-agreement": "say which part of it holds and what follows from that",
    "self-consultancy": "advise another way to go about it",
}


class Comment(BaseModel):
    comment: Annotated[str, Field(max_length=300)]


class Agent(LanguageTeacher):
    answer = Comment

    def questions(self, seen: Any) -> list[str]:
        return []  # it speaks when there are attempts to read

    def lesson(self, seen: Any, answers: list[Any]) -> Any:
        return self.action_space.encode(1, **RULE)[0]

    def comment(self, attempts: list[dict[str, Any]]) -> list[tuple[str, int]]:
        """Words about each attempt, and the tokens that finding them took; the environment asks in the middle of a step."""
        questions = [
            f"Problem: {one['problem']}\n\nThe student wrote:\n{one['attempt']}\n\nThis is "
            f"{'right' if one['right'] else 'wrong'}. In one or two short sentences, {BEHAVIOURS[one['behaviour']]}, "
            'as {"comment": "..."}. Do not give the answer.'
            for one in attempts
        ]
        comments, tokens = self.ask([one["student"] for one in attempts], questions, Comment)
        return [(given.comment if given else "", spent) for given, spent in zip(comments, tokens, strict=True)]

    def spent(self) -> dict[str, Any]:
        """Nothing beside the comments, which are billed when they are made."""
        return {"tokens": np.zeros_like(self._tokens)}
