"""DataEnvGym's policy and data engine, a language model in either role (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025). The
policy is shown a few errors and specifies what to practise. The engine, asked for every specification, writes the items.

DataEnvGym's policy makes ten specifications a call, of an item each. Here it is two of up to four items, and the engine sees
one error as an example of the form. What has no usable answer, from either, writes nothing; real items take the rest of the
money.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from kdgym.teaching.language_model import LanguageTeacher
from kdgym.teaching.text import WrittenItem, filled

SHOWN = 3  # errors in the policy's question
SPECIFICATIONS, ITEMS = 2, 4  # most of a plan, and most of one specification


class Specification(BaseModel):
    error: Annotated[int, Field(ge=1, le=SHOWN)]  # that it answers to
    practise: Annotated[str, Field(max_length=120)]
    items: Annotated[int, Field(ge=1, le=ITEMS)]


class Plan(BaseModel):
    specifications: Annotated[list[Specification], Field(min_length=1, max_length=SPECIFICATIONS)]


class Items(BaseModel):
    items: Annotated[list[WrittenItem], Field(min_length=1, max_length=ITEMS)]


class Agent(LanguageTeacher):
    answer = Plan

    def teach(self, seen: Any) -> list[Any]:
        plans = self.round([self.questions(one) for one in seen], Plan)
        orders = [self._orders(one, mine) for one, mine in zip(seen, plans, strict=True)]
        written = self.round(orders, Items)
        return [self.lesson(one, mine) for one, mine in zip(seen, written, strict=True)]

    def questions(self, seen: Any) -> list[str]:
        if not seen["errors"]:
            return []
        shown = "\n".join(
            f"{i}. {error['problem']} Right: {error['right']}. The student said: {error['given']}."
            for i, error in enumerate(seen["errors"][:SHOWN], start=1)
        )
        return [
            f'A student made these errors:\n{shown}\n\nSpecify up to {SPECIFICATIONS} sets of new items: which "error" each '
            f'answers to, what the student should "practise" there, in a few words, and how many "items", 1 to {ITEMS}.'
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> str:
        items = [item.model_dump() for written in answers if written is not None for item in written.items]
        return filled(items, seen["items"])

    def _orders(self, seen: Any, plans: list[Any]) -> list[str]:
        """Questions to the engine, one a specification."""
        return [
            f"Problem: {error['problem']}\nAnswer: {error['right']}\n\nThe student should practise: {one.practise}\nWrite "
            f'{one.items} new problems in exactly this form, with their right answers, as {{"items": [...]}}.'
            for plan in plans
            if plan is not None
            for one in plan.specifications
            for error in seen["errors"][:SHOWN][one.error - 1 : one.error]
        ]
