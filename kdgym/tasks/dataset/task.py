"""A task from a data set of one's own: ``task="dataset:PATH"``.

A row of the file, ``{"problem": "What is 3 plus 4?", "answer": "7", "skill": "sums"}``, is a problem; the verifier is chosen by
name (`kdgym.tasks.dataset.verifiers`). Files may be JSON Lines, JSON, CSV or Parquet, folders of these, or in the cache of
Hugging Face's ``datasets`` (`kdgym.tasks.dataset.reading`); GSM8K, MATH and MBPP have names (`kdgym.tasks.dataset.ready`).

Splits: a hash puts 70 % of the problems into train and 15 % each into validation and test, near-duplicates together
(`kdgym.tasks.dataset.twins`). The hash is SHA-256 of a problem's words and numbers in alphabetical order; the smallest
of a group is hashed again, and decides. So a problem stays where it is when rows are added, unless these join its group.

What is dropped and why stands on the card (`Dataset.card`): rows without a problem or an answer, repetitions, contradictions,
items that their own verifier refuses, and skills that have too few items.

A language model reads the text. A tiny student reads tokens, where all items are short enough (`kdgym.tasks.spelled`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdgym.tasks.base import SPLIT_SHARES, SPLITS, Skill, splits_at
from kdgym.tasks.dataset.reading import Row, read_rows, text_of
from kdgym.tasks.dataset.ready import READY
from kdgym.tasks.dataset.twins import groups_of
from kdgym.tasks.dataset.verifiers import UnusableError, make_verifier
from kdgym.tasks.spelled import SpelledTask
from kdgym.tasks.spelling import MOST_TOKENS, spell

_COLUMNS = ("problem", "answer", "skill", "rationale", "tests", "choices")
_LONGEST = 20_000  # characters of a problem, or of an answer
_SHOWN = 3  # rows that the card names for every reason
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass
class _Item:
    where: str
    problem: str
    answer: str
    skill: str
    row: Row
    group: int = 0
    split: int = 0


class Dataset(SpelledTask):
    """The task. See the module's docstring and `kdgym.tasks.base.Task`.

    Args:
        source: a file, a folder of files, or ``hf:NAME``; ``gsm8k:``, ``math:`` or ``mbpp:`` in front says what is in it.
        columns: where other columns are meant than ``problem``, ``answer`` and ``skill``: ``{"problem": "question"}``. With
            ``"skill": None`` there is one skill, which environments divide by ``skills="discovered"``. ``rationale`` is
            written-out reasoning, which Feedback gives to language models sentence by sentence. The verifier ``choice``
            reads ``choices``, and ``unit-tests`` reads ``tests``.
        verifier: a name in `kdgym.tasks.dataset.verifiers.VERIFIERS`, or ``module:function``, which takes the answer
            given, the one listed and the row; if left out ``exact``, or what suits a data set that has a name.
        near_duplicates: similarity from which items stay in one split, above 0 to 1 (`kdgym.tasks.dataset.twins`).

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a package of the extra ``data`` is not installed.
        ValueError: a file is damaged, a column is missing, an option is refused, or no item is left.
    """

    name = "Dataset"
    version = 0

    def __init__(
        self,
        source: str,
        columns: dict[str, str | None] | None = None,
        verifier: str | None = None,
        near_duplicates: float = 0.8,
    ) -> None:
        adapt, path, known = _split(source)
        self._columns = {**{name: name for name in _COLUMNS[:3]}, **(columns or {})}
        if not 0 < near_duplicates <= 1:
            raise ValueError(f"near_duplicates is {near_duplicates}; choose a similarity above 0, up to 1.")
        if not self._columns.keys() <= {*_COLUMNS}:
            raise ValueError(f"columns is {columns}; name the columns for {', '.join(_COLUMNS)}, or some of them.")
        self.source, self._near, self._named = source, near_duplicates, verifier or known or "exact"
        self._dropped: dict[str, list[str]] = defaultdict(list)
        try:
            self.verifier = make_verifier(self._named)
            self.free_form = self.verifier.is_open
            rows = [(where, adapt(row)) for where, row in read_rows(path)]
            self._build(self._distinct(self._read_all(rows)))
        except ImportError as error:
            raise ImportError(f"{source} needs the package {error.name}: pip install 'kdgym[data]'.") from error

    # --- from rows to items --------------------------------------------------------------------------------------

    def _read_all(self, rows: list[tuple[str, Row]]) -> list[_Item]:
        there, self._rows, items = dict.fromkeys(name for _, row in rows for name in row), len(rows), []
        for name, column in self._columns.items():
            if column and column not in there:
                raise ValueError(
                    f"{self.source} has no column {column!r}; its {len(rows)} rows have {', '.join(there) or 'none'}. "
                    f"Say which is meant, as in columns={{{name!r}: ...}}, or {{'skill': None}} for one skill."
                )
        for where, row in rows:
            try:
                items.append(self._read(where, row))
            except UnusableError as error:
                self._dropped[str(error)].append(where)
        return items

    def _read(self, where: str, row: Row) -> _Item:
        row = {**row, **{name: row.get(column) if column else "all" for name, column in self._columns.items()}}
        for name in _COLUMNS[:3]:
            if not 0 < len(text_of(row[name])) <= _LONGEST:
                raise UnusableError(f"no {name} (empty, over {_LONGEST} characters, or neither text nor number)")
        listed = self.verifier.listed(row)
        if not self.verifier.is_right(listed, listed, row):
            raise UnusableError("the verifier refuses the answer of the row itself")
        return _Item(where, self.verifier.pose(text_of(row["problem"]), row), listed, text_of(row["skill"]), row)

    def _distinct(self, items: list[_Item]) -> list[_Item]:
        """Every problem once; where rows contradict each other, not at all."""
        same = defaultdict(list)
        for item in items:
            same[self.plain(item.problem)].append(item)
        kept = []
        for first, *others in same.values():
            agree = all(self.verifier.is_right(other.answer, first.answer, first.row) for other in others)
            kept += [first] if agree else []
            reason = "the same problem and answer as an earlier row" if agree else "the same problem, another answer"
            for item in others if agree else [first, *others]:
                self._dropped[reason].append(item.where)
        return kept

    def _build(self, items: list[_Item]) -> None:
        """Split the items, leave out skills that cannot be taught, and fill the tables."""
        groups, place = groups_of([item.problem for item in items], self._near) if items else (np.zeros(0), np.zeros(0))
        skills = defaultdict(list)
        for item, group, split in zip(items, groups.tolist(), splits_at(place / 2**63).tolist(), strict=True):
            skills[item.skill].append(replace(item, group=group, split=split))
        for name, mine in sorted(skills.items()):
            empty = {*range(len(SPLITS))} - {item.split for item in mine}
            if empty or len({item.answer for item in mine}) < 2:
                reason = f"no item in {SPLITS[min(empty)]}" if empty else "one answer to all items"
                self._dropped[f"its skill has {reason}"] += [item.where for item in skills.pop(name)]
        if not skills:
            why = "; ".join(f"{len(where)} rows: {reason}" for reason, where in self._dropped.items())
            raise ValueError(f"No row of {self._rows} in {self.source} can be taught ({why}); mend or add rows.")
        self._items = [skills[name] for name in sorted(skills)]
        self.skills = tuple(Skill(of[0].skill, f"{len(of)} items of the data set.") for of in self._items)
        self.open_skills = torch.tensor([self.free_form] * len(self.skills))
        self.parts = [spell([item.problem for item in of], [item.answer for item in of]) for of in self._items]
        self.arrange([np.array([item.split for item in of]) for of in self._items])
        made_of = [[item.skill, item.split, item.problem, item.answer] for of in self._items for item in of]
        self.edition = hashlib.sha256(json.dumps([self._named, made_of]).encode()).hexdigest()[:16]

    def card(self) -> dict[str, Any]:
        """What was kept and dropped and why, as plain JSON."""
        counts = {str(split): self.pools[split].count for split in SPLITS} | {"answers": self.answer_pool.count}
        options = {"columns": self._columns, "verifier": self._named, "near_duplicates": self._near}
        return {
            "source": self.source,
            **options,
            "edition": self.edition,
            "rows": self._rows,
            "kept": len(self.solution),
            "groups of near-duplicates": int((torch.unique(self.forms(), return_counts=True)[1] > 1).sum()),
            "dropped": {reason: {"rows": len(of), "first": of[:_SHOWN]} for reason, of in self._dropped.items()},
            "skills": {s.name: {name: int(of[k]) for name, of in counts.items()} for k, s in enumerate(self.skills)},
            "splits": f"{SPLIT_SHARES} by SHA-256 of SHA-256 of words and numbers in order, of a group the smallest",
            "longest": {kind: max(part.lengths[kind] for part in self.parts) for kind in MOST_TOKENS},
            "tiny students take": MOST_TOKENS,
        }

    # --- as text -------------------------------------------------------------------------------------------------

    def _item(self, problem: int) -> _Item:
        k, place = self.row(problem)
        return self._items[k][place]

    def forms(self) -> Tensor:
        """See `Task.forms`: the group of near-duplicates."""
        return self.in_order([np.array([item.group for item in of]) for of in self._items]).unsqueeze(1)

    def text(self, problem: int) -> str:
        return self._item(problem).problem + self.verifier.request

    def verify(self, problem: int, text: str) -> bool:
        """See `kdgym.tasks.dataset.verifiers`."""
        item = self._item(problem)
        return len(text) <= _LONGEST and self.verifier.is_right(text, item.answer, item.row)

    def plain(self, sentence: str) -> str:
        """Without the request, and with single blanks; case matters."""
        return " ".join(sentence.removesuffix(self.verifier.request).split())

    def advice(self, problem: int, kind: str) -> list[str]:
        """See `Task.advice`: sentences of the rationale; a data set has no hints and no concepts."""
        item = self._item(problem)
        sentences = [part for part in _SENTENCE.split(text_of(item.row.get("rationale"))) if part]
        return {"next_step": sentences, "full_solution": [*sentences, item.answer]}.get(kind, [])


def _split(source: str) -> tuple[Callable[[Row], Row], str, str]:
    """What makes a row of known columns, the file, and the verifier that suits it; ``""`` where a source has no name."""
    kind, _, path = source.partition(":")
    return (READY[kind][0], path, READY[kind][1]) if kind in READY else (dict, source, "")
