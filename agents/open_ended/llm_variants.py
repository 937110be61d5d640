"""LLM2LLM with a language model (Lee, Wattanawong, Kim et al., Findings of ACL 2024, section 3): one new item like each
item the student got wrong, near-copies dropped, real items for the rest of the money.

Errors come from practice on real items alone, so that variants spawn no variants. Where no usable answer comes, the error
itself takes the variant's place.
"""

from difflib import SequenceMatcher
from typing import Any

from kdgym.teaching.language_model import LanguageTeacher
from kdgym.teaching.text import WrittenItem, filled

SHOWN = 8  # errors of a step, a call each
NEAR = 0.95  # similarity above which a variant is a copy


class Agent(LanguageTeacher):
    answer = WrittenItem

    def questions(self, seen: Any) -> list[str]:
        return [
            f"Problem: {error['problem']}\nAnswer: {error['right']}\n\nWrite one new problem of this kind, in exactly this "
            'form but with other content, and its right answer, as {"problem": ..., "answer": ...}.'
            for error in seen["errors"][:SHOWN]
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> str:
        items = []
        for error, variant in zip(seen["errors"], answers, strict=False):
            if variant is None:
                items.append({"problem": error["problem"], "answer": error["right"]})
            elif SequenceMatcher(None, variant.problem, str(error["problem"])).ratio() <= NEAR:
                items.append(variant.model_dump())
        return filled(items, seen["items"])
