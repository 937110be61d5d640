"""The datasets of reasoning-gym: every dataset is a skill.

An item of ``chain_sum``: ``State the final answer to the following arithmetic problem: 4 + 71 =`` with the answer ``75``, and
the request to reply with the answer only. The verifier accepts exactly the answer, or a numeral of the same value; where a
problem has several right answers, any of them in the form asked for (`kdgym.tasks.reasoning.answers`).

reasoning-gym (Stojanovski et al., 2025, arXiv:2505.24760) makes problems with answers from a seed, and says what makes each
difficult, which tells subskills apart here. Items are made once and kept in the user's cache (`kdgym.tasks.reasoning.pools`).

A language model reads the text. A tiny student reads tokens (`kdgym.tasks.reasoning.spelling`): the problem without the words
that all problems of its dataset have, and the dataset's own token last, where the answer begins.

Splits: in version 1 a hash of a problem's canonical form (`kdgym.tasks.reasoning.splits`) assigns it to train, validation or
test, the same for all datasets, so neither a commuted product nor a list in another order carries a problem across. In version 0
punctuation sticks to the words whose hash decides: of products and gcd most test problems have a commuted twin in train.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdgym.tasks.base import SPLITS, Pool, SentenceTask, Skill, Traits, number_of_form, pools_of
from kdgym.tasks.reasoning.answers import OPEN, UNSUPPORTED, Verifier
from kdgym.tasks.reasoning.pools import MOST_TOKENS, Items, Wanted, library_version, load_items
from kdgym.tasks.reasoning.spelling import PADDING, read_answer, spell_answer
from kdgym.tasks.reasoning.splits import canonical_forms, split_problems

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


class Reasoning(SentenceTask):
    """The task made of reasoning-gym's datasets. See the module's docstring for the format.

    Args:
        datasets: names, as a list or separated by commas, or a dict from names to reasoning-gym's settings; all of `SMALL` if
            left out. A name alone stands for its settings in `SMALL`, or for reasoning-gym's own if it is not there; ``{}``
            always for reasoning-gym's own.
        items: different problems a dataset, as far as it has so many.
        version: of the splits: 1, or 0, whose held-out problems have twins in train. Settings without it, as those of ``-v0`` ids
            and of what was saved under them, mean 0.

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
        self._parts = load_items([Wanted(name, settings, items) for name, settings in self.settings.items()])
        self.free_form = any(name in OPEN for name in self.settings)
        self.skills = tuple(
            Skill(name, part.description or f"The dataset {name}.")
            for name, part in zip(self.settings, self._parts, strict=True)
        )
        self._verifiers = [Verifier(name, settings) for name, settings in self.settings.items()]
        self._build()

    def _build(self) -> None:
        """Order the problems by skill and split, and give every skill's answers numbers."""
        counts = np.zeros((len(self._parts), len(SPLITS)), np.int64)
        orders, solutions, answer_count = [], [], []
        self._answers: list[str] = []
        for k, part in enumerate(self._parts):
            split = split_problems(part.problems, self.version)
            counts[k] = np.bincount(split, minlength=len(SPLITS))
            if not counts[k].all():
                raise ValueError(
                    f"{self.skills[k].name} has only {len(split)} different problems under these settings, none of them in "
                    f"the split {SPLITS[int(counts[k].argmin())]}; choose larger settings or more items."
                )
            orders.append(np.argsort(split, kind="stable"))
            number = {answer: i for i, answer in enumerate(dict.fromkeys(part.answers))}
            solutions.append(len(self._answers) + np.array([number[part.answers[i]] for i in orders[k]]))
            self._answers += list(number)
            answer_count.append(len(number))
        self.pools = pools_of(counts)
        self.solution = torch.from_numpy(np.concatenate(solutions))
        self.skill_of = torch.from_numpy(np.repeat(np.arange(len(self._parts)), counts.sum(1)))
        self._place = np.concatenate(orders)  # of every problem within its part
        count = torch.tensor(answer_count)
        self.answer_pool = Pool(count.cumsum(0) - count, count)

    def _item(self, problem: int) -> tuple[Items, int]:
        return self._parts[int(self.skill_of[problem])], int(self._place[problem])

    def forms(self) -> Tensor:
        """See `Task.forms` and `kdgym.tasks.reasoning.splits`; what two datasets ask of the same numbers are no twins."""
        pairs = zip(self.settings, self._parts, strict=True)
        forms = [[number_of_form(f"{name} {form}") for form in canonical_forms(part.problems)] for name, part in pairs]
        offset = np.cumsum([0, *map(len, forms[:-1])])[self.skill_of.numpy()]
        return torch.from_numpy(np.concatenate(forms)[offset + self._place]).unsqueeze(1)

    # --- tokens --------------------------------------------------------------------------------------------------

    @cached_property
    def _too_long(self) -> str:
        """What is too long to be spelled, and what to do; empty where nothing is."""
        for name, part in zip(self.settings, self._parts, strict=True):
            for kind, most in MOST_TOKENS.items():
                if part.lengths[kind] > most:
                    return (
                        f"{name} has a{'n' * (kind == 'answer')} {kind} of {part.lengths[kind]} tokens; tiny students take at "
                        f"most {most}. Choose smaller settings, as in datasets={{{name!r}: {{...}}}}, another dataset, or a "
                        "student that is a language model."
                    )
        return ""

    @cached_property
    def _tokens(self) -> dict[str, int]:
        """Numbers of all tokens, 0 is padding; the last ones are the skills' own."""
        prompts = (token for part in self._parts for token in part.tokens)
        answers = (token for answer in self._answers for token in spell_answer(answer, self._common))
        skills = (f"<{name}>" for name in self.settings)
        return {name: i for i, name in enumerate(dict.fromkeys([PADDING, *prompts, *answers, *skills]))}

    @cached_property
    def _common(self) -> set[str]:
        return {text for part in self._parts for text in part.common}

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        """See `Task`.

        Raises:
            ValueError: problems or answers are too long for students that read tokens.
        """
        if self._too_long:
            raise ValueError(self._too_long)
        return len(self._tokens)

    @cached_property
    def prompt(self) -> Tensor:  # type: ignore[override]
        """See `Task`. What is too long to be spelled is one token, its number; language models read the text."""
        if self._too_long:
            return torch.arange(len(self.solution)).unsqueeze(1)
        width = max(part.prompt.shape[1] for part in self._parts)
        prompt = torch.zeros(len(self.solution), width + 1, dtype=torch.int64)
        for k, part in enumerate(self._parts):
            mine = self.skill_of == k
            rows = torch.tensor([self._tokens[token] for token in part.tokens])[part.prompt.long()]
            prompt[mine, width - rows.shape[1] : -1] = rows[torch.from_numpy(self._place)[mine]]
            prompt[mine, -1] = self._tokens[f"<{self.skills[k].name}>"]
        return prompt

    @cached_property
    def answer(self) -> Tensor:  # type: ignore[override]
        """See `Task` and `prompt`."""
        if self._too_long:
            return torch.arange(len(self._answers)).unsqueeze(1)
        rows = [[self._tokens[token] for token in spell_answer(answer, self._common)] for answer in self._answers]
        width = max(map(len, rows))
        return torch.tensor([row + [0] * (width - len(row)) for row in rows])

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Task.judge`; other right answers than the listed one are read as text."""
        right = super().judge(problem, tokens)
        if not self.free_form:
            return right
        open_ = torch.tensor([name in OPEN for name in self.settings]).to(problem.device)
        for place in (~right & open_[self.skill_of.to(problem.device)[problem]]).nonzero().tolist():
            at = tuple(place)
            right[at] = self.verify(int(problem[at]), self.write_tokens(tokens[at]))
        return right

    # --- text ----------------------------------------------------------------------------------------------------

    def text(self, problem: int) -> str:
        part, place = self._item(problem)
        return part.problems[place] + _REQUEST

    def answer_text(self, answer: int) -> str:
        return self._answers[answer]

    def verify(self, problem: int, text: str) -> bool:
        part, place = self._item(problem)
        metadata = part.metadata[place] if part.metadata else "{}"
        return self._verifiers[int(self.skill_of[problem])].is_right(text, part.answers[place], metadata)

    def plain(self, sentence: str) -> str:
        """Without the request; case and blanks matter to many datasets."""
        return sentence.strip().removesuffix(_REQUEST.strip()).strip()

    def write_tokens(self, tokens: Tensor) -> str:
        if self._too_long:
            return self._answers[int(tokens[0])]
        names = list(self._tokens)
        return read_answer([names[token] for token in tokens.tolist()]) or "(nothing)"

    # --- subskills -----------------------------------------------------------------------------------------------

    def traits(self) -> tuple[Traits, ...]:
        """What the datasets say makes an item difficult; where that does not tell items apart, what their texts look like."""
        most = max(len(part.attribute_names) for part in self._parts)
        value = torch.zeros(len(self.solution), most, dtype=torch.float64)
        looks = torch.zeros(len(self.solution), len(_LOOKS), dtype=torch.float64)
        for k, part in enumerate(self._parts):
            mine = self.skill_of == k
            place = torch.from_numpy(self._place)[mine]
            value[mine, : len(part.attribute_names)] = part.attributes[place]
            looks[mine] = torch.tensor([_looks_of(problem) for problem in part.problems], dtype=torch.float64)[place]
        difficulty = [part.attribute_names + [""] * (most - len(part.attribute_names)) for part in self._parts]
        return Traits(difficulty, value), Traits([list(_LOOKS)] * len(self._parts), looks)


_LOOKS = ("largest number", "words", "characters")


def _looks_of(problem: str) -> tuple[float, float, float]:
    return max((float(n) for n in re.findall(r"[0-9]{1,15}", problem)), default=0.0), len(problem.split()), len(problem)


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
