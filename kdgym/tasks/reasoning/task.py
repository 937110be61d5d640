"""The datasets of reasoning-gym: every dataset is a skill.

An item of ``chain_sum``: ``State the final answer to the following arithmetic problem: 4 + 71 =`` with the answer ``75``, and
the request to reply with the answer only. The verifier accepts exactly the answer, or a numeral of the same value; where a
problem has several right answers, any of them in the form asked for (`kdgym.tasks.reasoning.answers`).

reasoning-gym (Stojanovski et al., 2025, arXiv:2505.24760) makes problems with answers from a seed, and says what makes each
difficult, which tells subskills apart here. Items are made once and kept in the user's cache (`kdgym.tasks.reasoning.pools`).

A language model reads the text. A tiny student reads tokens (`kdgym.tasks.spelling`): the problem without the words
that all problems of its dataset have, and the dataset's own token last, where the answer begins.

Splits: in version 1 a hash of a problem's canonical form (`kdgym.tasks.reasoning.splits`) assigns it to train, validation or
test, the same for all datasets, so neither a commuted product nor a list in another order carries a problem across. In version
0 punctuation sticks to the words whose hash decides: of products and gcd most test problems have a commuted twin in train.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdgym.tasks.base import SPLITS, Skill, Traits, number_of_form
from kdgym.tasks.reasoning.answers import OPEN, UNSUPPORTED, Verifier
from kdgym.tasks.reasoning.pools import Items, Wanted, library_version, load_items
from kdgym.tasks.reasoning.splits import canonical_forms, split_problems
from kdgym.tasks.spelled import SpelledTask

_REQUEST = "\nReply with the answer only."
_FEWEST, _MOST = 64, 100_000  # items of a dataset
# What is taught if nobody says otherwise, with settings small enough for a tiny student to learn something.
SMALL: dict[str, dict[str, Any]] = {
    "products": {"max_terms": 3, "max_digits": 1},
    "gcd": {"max_value": 40},
    "lcm": {"max_value": 20},
    "fraction_simplification": {"max_value": 20, "max_factor": 4, "styles": ["plain"]},
    "count_primes": {"max_n": 50},
    "leg_counting": {"min_animals": 1, "max_animals": 1},
    "number_filtering": {"min_numbers": 2, "max_numbers": 2, "max_decimals": 0, "min_value": 0, "max_value": 20},
    "word_sorting": {"min_words": 2, "max_words": 2, "max_word_length": 3},
    "spell_backward": {"max_word_len": 6},
    "string_insertion": {"max_string_length": 6},
    "isomorphic_strings": {"min_string_length": 3, "max_string_length": 3},
    "syllogism": {},
}

Datasets = str | list[str] | dict[str, dict[str, Any]] | None


class Reasoning(SpelledTask):
    """The task made of reasoning-gym's datasets. See the module's docstring for the format.

    Args:
        datasets: names, as a list or separated by commas, or a dict from names to reasoning-gym's settings; all of `SMALL` if
            left out. A name alone stands for its settings in `SMALL`, or for reasoning-gym's own if it is not there; ``{}``
            always for reasoning-gym's own.
        items: different problems a dataset, as far as it has so many.
        version: of the splits: 1, or 0, whose held-out problems have twins in train. Settings without it, as those of ``-v0``
            ids and of what was saved under them, mean 0.

    Raises:
        ImportError: reasoning-gym is not installed.
        ValueError: there is no such dataset, it cannot be taught, it refuses its settings, it has too few problems, or
            ``items`` or ``version`` is out of range.
    """

    name = "Reasoning"

    def __init__(self, datasets: Datasets = None, items: int = 4096, version: int = 0) -> None:
        if not _FEWEST <= items <= _MOST:
            raise ValueError(f"items is {items}; choose {_FEWEST} to {_MOST} problems a dataset.")
        if version not in (0, 1):
            raise ValueError(f"version is {version}; choose 1, or 0 for splits with twins.")
        self.version = version
        self.settings = _read_datasets(datasets)
        self.edition = f"reasoning-gym {library_version()}"
        self.parts: list[Items] = load_items(
            [Wanted(name, settings, items) for name, settings in self.settings.items()]
        )
        self.free_form = any(name in OPEN for name in self.settings)
        self.open_skills = torch.tensor([name in OPEN for name in self.settings])
        self.skills = tuple(
            Skill(name, part.description or f"The dataset {name}.")
            for name, part in zip(self.settings, self.parts, strict=True)
        )
        self._verifiers = [Verifier(name, settings) for name, settings in self.settings.items()]
        splits = [split_problems(part.problems, self.version) for part in self.parts]
        for skill, split in zip(self.skills, splits, strict=True):
            counts = np.bincount(split, minlength=len(SPLITS))
            if not counts.all():
                raise ValueError(
                    f"{skill.name} has only {len(split)} different problems under these settings, none of them in "
                    f"the split {SPLITS[int(counts.argmin())]}; choose larger settings or more items."
                )
        self.arrange(splits)

    def shorten(self, skill: str) -> str:
        return f"smaller settings, as in datasets={{{skill!r}: {{...}}}}, another dataset, or {super().shorten(skill)}"

    def forms(self) -> Tensor:
        """See `Task.forms` and `kdgym.tasks.reasoning.splits`; what two datasets ask of the same numbers are no twins."""
        pairs = zip(self.settings, self.parts, strict=True)
        forms = [[number_of_form(f"{name} {form}") for form in canonical_forms(part.problems)] for name, part in pairs]
        return self.in_order([np.array(part) for part in forms]).unsqueeze(1)

    # --- text ----------------------------------------------------------------------------------------------------

    def text(self, problem: int) -> str:
        k, place = self.row(problem)
        return self.parts[k].problems[place] + _REQUEST

    def verify(self, problem: int, text: str) -> bool:
        k, place = self.row(problem)
        part = self.parts[k]
        metadata = part.metadata[place] if part.metadata else "{}"
        return self._verifiers[k].is_right(text, part.answers[place], metadata)

    def plain(self, sentence: str) -> str:
        """Without the request; case and blanks matter to many datasets."""
        return sentence.strip().removesuffix(_REQUEST.strip()).strip()

    # --- subskills -----------------------------------------------------------------------------------------------

    def traits(self) -> tuple[Traits, ...]:
        """What the datasets say makes an item difficult; where that does not tell items apart, what their texts look like."""
        most = max(len(part.attribute_names) for part in self.parts)
        value = torch.zeros(len(self.solution), most, dtype=torch.float64)
        for k, part in enumerate(self.parts):
            mine = self.skill_of == k
            value[mine, : len(part.attribute_names)] = part.attributes[torch.from_numpy(self._place)[mine]]
        difficulty = [part.attribute_names + [""] * (most - len(part.attribute_names)) for part in self.parts]
        return Traits(difficulty, value), *super().traits()


def _read_datasets(given: Datasets) -> dict[str, dict[str, Any]]:
    """Settings by name, in the order given."""
    if given is None:
        return SMALL
    if isinstance(given, str):
        given = [name.strip() for name in given.split(",") if name.strip()]
    settings = given if isinstance(given, dict) else {name: SMALL.get(name, {}) for name in given}
    if not settings or (not isinstance(given, dict) and len(settings) < len(given)):
        raise ValueError(f"datasets is {given!r}; name at least one dataset, and none twice.")
    for name, value in settings.items():
        if name in UNSUPPORTED:
            raise ValueError(f"The dataset {name} cannot be taught: {UNSUPPORTED[name]}.")
        if not isinstance(value, dict) or {"seed", "size"} & value.keys():
            raise ValueError(
                f"The settings of {name} are {value!r}; give a dict of reasoning-gym's settings, but neither seed nor size."
            )
    return settings
