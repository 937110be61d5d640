"""Groups of near-duplicates, which stay in one split.

Two texts are twins if they have the same words and numbers in any order (`kdgym.tasks.base.Task.forms`), and near-duplicates if
they have the same numbers and their sets of three words in a row are alike: Jaccard similarity of at least the threshold, found
by MinHash with locality-sensitive hashing (Broder, 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section
3.4) and then computed exactly. Of pairs at the threshold one in a thousand is missed. Texts that differ in a number are
different problems; tags of markup count for nothing. What is alike by way of others is one group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kdgym.console import progress_bar
from kdgym.tasks.base import number_of_form, words_of

Ints = npt.NDArray[np.int64]
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_PERMUTATIONS = 128
_MISSED = 0.001  # of the pairs that are just as similar as the threshold; of more similar ones, fewer


def groups_of(texts: Sequence[str], threshold: float) -> tuple[Ints, Ints]:
    """The group of every text, int64 [n], and a hash of the smallest of its forms, in 0 .. 2**63 - 1, int64 [n].

    Args:
        texts: n of them, 1 or more.
        threshold: above 0, to 1; at 1 only twins are grouped.

    Raises:
        ValueError: more than a tenth of the texts, or than 1,000, are near-duplicates of each other, and more than 30.
    """
    words = [words_of(_TAG.sub(" ", text)) or [text] for text in texts]
    form = np.array([number_of_form(" ".join(sorted(row))) for row in words])
    _, first, group = np.unique(form, return_index=True, return_inverse=True)
    if threshold < 1:
        group = _compare([texts[i] for i in first], [_shingles(words[i]) for i in first], threshold)[group]
    smallest = np.full(len(texts), np.iinfo(np.int64).max)
    np.minimum.at(smallest, group, form)
    # Hashed again: the smallest of several hashes is small, and large groups would all be in train.
    return group, np.array([number_of_form(str(form)) for form in smallest.tolist()])[group]


def _compare(texts: Sequence[str], shingles: Sequence[set[str]], threshold: float) -> Ints:
    """The group of every text: the first member's place."""
    from datasketch import MinHash, MinHashLSH

    fits = (n for n in range(2, 33) if (1 - threshold**n) ** (_PERMUTATIONS // n) <= _MISSED)
    band = max(fits, default=1)  # permutations that have to agree; the more, the fewer pairs are compared
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_PERMUTATIONS // band, band))
    group, most = [{i} for i in range(len(texts))], max(30, min(len(texts) // 10, 1000))
    sketches = MinHash.generator(([s.encode() for s in row] for row in shingles), num_perm=_PERMUTATIONS)
    with progress_bar() as progress:
        bar = progress.add_task("Comparing items", total=len(texts))
        for i, sketch in enumerate(sketches):
            for j in index.query(sketch):
                if j not in group[i] and len(shingles[i] & shingles[j]) >= threshold * len(shingles[i] | shingles[j]):
                    group[i] |= group[j]
                    for member in group[i]:
                        group[member] = group[i]
                if len(group[i]) > most:
                    raise ValueError(
                        f"More than {most} of {len(texts)} items are near-duplicates, such as {texts[i][:80]!r} and "
                        f"{texts[j][:80]!r}. Choose near_duplicates above {threshold}; 1 groups equal words alone."
                    )
            index.insert(i, sketch, check_duplication=False)
            progress.advance(bar)
    return np.array([min(members) for members in group])


def _shingles(words: list[str]) -> set[str]:
    """Three words in a row, each with all numbers of the text before them."""
    numbers = " ".join(sorted(word for word in words if word[0].isdigit()))
    return {f"{numbers}: {' '.join(words[i : i + 3])}" for i in range(max(1, len(words) - 2))}
