"""Which split a problem of reasoning-gym is in, and which problems are twins.

A problem's canonical form is its numbers in alphabetical order; in a dataset where they tell few problems apart, its words
and numbers. Where most problems have the same words (boards, above all), it is all signs, words and numbers as they stand.
Where only blanks tell problems apart, it is the text.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdgym.tasks.base import SPLIT_SHARES, SPLITS, number_of_form, splits_at, words_of

_MOST = 0.1  # problems of one form, among all


def canonical_forms(problems: Sequence[str]) -> list[str]:
    """The forms of a dataset's problems; equal ones are twins."""
    pieces = [sorted(words_of(problem)) for problem in problems]
    words = [" ".join(row) for row in pieces]
    numbers = [" ".join(word for word in row if word[0].isdigit()) for row in pieces]
    if _tell_apart(words, problems, 1 / 8):
        return numbers if _tell_apart(numbers, words, 1 / 4) else words
    in_order = [" ".join(re.findall(r"\w+|[^\w\s]", problem)) for problem in problems]
    return in_order if _tell_apart(in_order, problems, 1 / 8) else list(problems)


def _tell_apart(forms: Sequence[str], finer: Sequence[str], share: float) -> bool:
    """Whether there are enough different forms for that share of the finer ones, none of them of too many problems."""
    sizes = Counter(forms)
    return len(sizes) >= share * len(set(finer)) and max(sizes.values()) <= max(2, _MOST * len(forms))


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
