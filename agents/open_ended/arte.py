"""Drafts several kinds of lesson, tries each on the student, and gives the kind that helped most: ARTE (Liu, Zhang, Yao et al.,
"Aligning teacher with student preferences for tailored training data generation", 2024, section 3).

ARTE tries a draft as the exemplar in a prompt, which costs it nothing and teaches nothing. A teacher here may try nothing in
secret: a probe is a step's lesson, paid for and learned, and the score after it less the score before is what the student
prefers, as noisy as that is.
"""

import json
from typing import Any

import numpy as np

from kdgym.teaching import Teacher

ROUNDS = 1  # probes of every draft


def _copies(errors: list[Any], items: int) -> list[Any]:
    """The errors themselves, with their right answers, again and again."""
    right = [{"problem": error["problem"], "answer": error["right"]} for error in errors]
    return (right * (1 + items // max(1, len(right))))[:items] if right else _real(errors, items)


def variants(errors: list[Any], items: int) -> list[Any]:
    """Real items like the errors, as many for each."""
    share = [items // len(errors) + (i < items % len(errors)) for i in range(len(errors))] if errors else []
    asked = [{"draw": n, "like": error["problem"]} for n, error in zip(share, errors, strict=True) if n]
    return asked or _real(errors, items)


def _real(errors: list[Any], items: int) -> list[Any]:
    """Real items at random."""
    return [{"draw": items}] if items else []


def _mixture(errors: list[Any], items: int) -> list[Any]:
    """Half like the errors, half at random."""
    return variants(errors, items // 2) + _real(errors, items - items // 2)


DRAFTS = (_real, _copies, variants, _mixture)


class Agent(Teacher):
    def reset(self, observation: Any) -> None:
        self.step = 0
        self.change = np.zeros((len(observation), len(DRAFTS)))

    def act(self, observation: Any) -> list[str]:
        seen = [json.loads(text) for text in observation]
        probes = ROUNDS * len(DRAFTS)
        if 0 < self.step <= probes:
            self.change[:, (self.step - 1) % len(DRAFTS)] += [student["change"] for student in seen]
        probing = self.step < probes
        draft = np.full(len(seen), self.step % len(DRAFTS)) if probing else self.change.argmax(1)
        self.step += 1
        return [json.dumps(DRAFTS[d](one["errors"], one["items"])) for d, one in zip(draft, seen, strict=True)]
