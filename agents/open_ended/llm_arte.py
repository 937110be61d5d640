"""ARTE with a language model (Liu, Zhang, Yao et al., "Aligning teacher with student preferences for tailored training data
generation", 2024, section 3): it drafts items in several ways, and goes on in the way that this student learned most from.

ARTE tunes its teacher by DPO on what the student preferred; here the model stays as it is, and the preference, measured as in
arte by a step of each way, chooses what it is asked for. Where no usable answer comes, the error itself takes the item's place.
"""

from typing import Any

import numpy as np

from kdgym.teaching.language_model import LanguageTeacher
from kdgym.teaching.text import WrittenItem, filled

SHOWN = 6  # errors of a step, a call each
WAYS = (
    "of the same kind and as difficult, with other content",
    "of the same kind but easier, with smaller or simpler content",
    "of the same kind but harder, with larger or longer content",
)


class Agent(LanguageTeacher):
    answer = WrittenItem

    def reset(self, observation: Any) -> None:
        self.lessons = 0
        self.change = np.zeros((len(observation), len(WAYS)))

    def teach(self, seen: Any) -> list[Any]:
        if 0 < self.lessons <= len(WAYS):
            self.change[:, self.lessons - 1] = [one["change"] for one in seen]
        probing = self.lessons < len(WAYS)
        way = np.full(len(seen), self.lessons) if probing else self.change.argmax(1)
        self.lessons += 1
        return super().teach([{**one, "way": WAYS[w]} for one, w in zip(seen, way, strict=True)])

    def questions(self, seen: Any) -> list[str]:
        return [
            f"Problem: {error['problem']}\nAnswer: {error['right']}\n\nWrite one new problem in exactly this form, "
            f'{seen["way"]}, and its right answer, as {{"problem": ..., "answer": ...}}.'
            for error in seen["errors"][:SHOWN]
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> str:
        items = [
            {"problem": error["problem"], "answer": error["right"]} if draft is None else draft.model_dump()
            for error, draft in zip(seen["errors"], answers, strict=False)
        ]
        return filled(items, seen["items"])
