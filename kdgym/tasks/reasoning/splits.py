"""Which split a problem of reasoning-gym is in, and which problems are twins.

A problem's canonical form is its numbers in ascending order; of a dataset where these are too few to tell its problems apart,
its words and numbers in alphabetical order; where most problems have the same words (boards, above all), its signs, words and
numbers as they stand; and where only blanks tell problems apart, its text.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from kdgym.tasks.base import SPLIT_SHARES, SPLITS, number_of_form, splits_at, words_of

_FORMS: tuple[Callable[[str], str], ...] = (
    lambda problem: " ".join(sorted(word for word in words_of(problem) if word[0].isdigit())),
    lambda problem: " ".join(sorted(words_of(problem))),
    lambda problem: " ".join(re.findall(r"\w+|[^\w\s]", problem)),
    str,
)
_FEWEST, _MOST = 1 / 8, 1 / 10  # different forms a problem, and problems of one form among all


def canonical_forms(problems: Sequence[str]) -> list[str]:
    """The forms of a dataset's problems; equal ones are twins."""
    for form in _FORMS:
        found = [form(problem) for problem in problems]
        sizes = Counter(found)
        if len(sizes) >= _FEWEST * len(problems) and max(sizes.values()) <= _MOST * len(problems):
            break
    return found


def split_problems(problems: Sequence[str], version: int) -> npt.NDArray[np.int64]:
    """Index into `SPLITS` of every problem of a dataset, int64 [n]; the same for equal forms in any dataset."""
    if version == 0:
        return _split_by_words(problems)
    return splits_at(np.array([number_of_form(form) for form in canonical_forms(problems)]) / 2**63)


def _split_by_words(problems: Sequence[str]) -> npt.NDArray[np.int64]:
    """Of version 0, whose words have commas and full stops on them, so that commuted problems are in different splits."""
    for key in (lambda problem: " ".join(sorted(problem.split())), str):
        hashed = [hashlib.sha256(f"0 {key(problem)}".encode()).digest()[:8] for problem in problems]
        place = np.array([int.from_bytes(digest, "big") / 2**64 for digest in hashed])
        split = splits_at(place)
        if np.bincount(split, minlength=len(SPLITS)).min() >= min(SPLIT_SHARES) / 2 * len(problems):
            break
    return split
