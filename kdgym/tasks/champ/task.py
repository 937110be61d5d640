"""CHAMP: competition mathematics with hints, concepts and solutions that people wrote (Mao, Kim and Zhou, ACL Findings 2024).

The problems come from the authors' package ``champ-dataset`` (MIT). For language models. Of its 270 problems 226 are taught:
those whose answer is one number, one formula or one of the words Yes, No and None, which can be verified exactly
(`kdgym.tasks.champ.answers`); lists, relations and sentences are left out, and so are four factorisations, whose question has
the value of its answer. Skills are CHAMP's five fields.

Splits: a hash of its identifier puts a problem into train, validation or test, its siblings with it: variants of one problem
(tilings of two boards, say) share hints or steps of their solutions, word for word.

What a teacher may say of a problem (`Champ.advice`) is CHAMP's own: hints belong to one problem; concepts are general theorems,
and problems of all splits may need the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from functools import cached_property
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from kdgym.tasks.base import SPLITS, Pool, SentenceTask, Skill, number_of_form, pools_of, splits_at
from kdgym.tasks.champ.answers import final_answer, is_right, listed_answer

_REQUEST = (
    'Solve this problem in a few short steps. Write the last line as "Answer: " with the final answer alone: a number, a '
    "formula, Yes, No or None."
)
_FIELDS = ("Combinatorics", "Inequality", "Number-Theory", "Polynomial", "Sequence")
_SPLIT_SHARES = (0.5, 0.25, 0.25)


class Champ(SentenceTask):
    """The task. See the module's docstring and `kdgym.tasks.base.Task`.

    Raises:
        ImportError: the package ``champ-dataset`` or ``math-verify`` is not installed.
    """

    name = "CHAMP"
    version = 0
    free_form = True
    skills: tuple[Skill, ...] = tuple(
        Skill(field.lower().replace("-", "_"), f"Competition problems: {field.lower().replace('-', ' ')}.")
        for field in _FIELDS
    )

    def __init__(self) -> None:
        data = _read()
        said = {
            identifier: entry["_text"] for kind in ("hints", "concepts") for identifier, entry in data[kind].items()
        }
        problems: list[dict[str, Any]] = [
            {
                "identifier": given["identifier"],
                "text": given["_text"],
                "answer": answer,
                "field": _FIELDS.index(given["category"]),
                "hint": _unique(said[c] for c in given["ch_list"] if c.startswith("H_")),
                "concept": _unique(said[c] for c in given["ch_list"] if c.startswith("C_")),
                "next_step": [step["_text"] for step in given["solution"]["steps"]],
            }
            for given in data["problems"].values()
            if (answer := listed_answer(given["_raw_answer"])) and not given["_text"].startswith("Factorize")
        ]
        for problem, eldest in zip(problems, _families(problems), strict=True):
            problem["split"] = _split(problems[eldest]["identifier"], self.version)
            problem["family"] = int(eldest)
        self._problems = sorted(problems, key=lambda problem: (problem["field"], problem["split"]))
        field, split = (np.array([problem[name] for problem in self._problems]) for name in ("field", "split"))
        count = np.bincount(field * len(SPLITS) + split, minlength=len(_FIELDS) * len(SPLITS))
        counts = count.reshape(len(_FIELDS), len(SPLITS))
        self.pools = pools_of(counts)
        self.skill_of = torch.from_numpy(field)
        self.solution = torch.arange(len(self._problems))
        each = torch.from_numpy(counts.sum(1))
        self.answer_pool = Pool(each.cumsum(0) - each, each)

    # --- tokens: language models read the text, so a problem's and an answer's only token is its number ----------

    @property
    def vocabulary(self) -> int:  # type: ignore[override]
        """See `Task`.

        Raises:
            ValueError: always; problems are too long for students that read tokens.
        """
        raise ValueError("CHAMP is too long for tiny students; choose a language model, student='hf:...'.")

    @cached_property
    def prompt(self) -> Tensor:  # type: ignore[override]
        """See `Task`."""
        return self.solution.unsqueeze(1)

    @cached_property
    def answer(self) -> Tensor:  # type: ignore[override]
        """See `Task`."""
        return self.solution.unsqueeze(1)

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Task.judge`: among answers that have numbers, the listed one."""
        return tokens[..., 0] == problem

    def write_tokens(self, tokens: Tensor) -> str:
        return self.answer_text(int(tokens[0]))

    def plain_answer(self, text: str) -> str:
        """The final answer of a text."""
        return final_answer(text)

    def forms(self) -> Tensor:
        """See `Task.forms`: the text but for case, blanks and punctuation, and the family of siblings."""
        forms = [(number_of_form(_bare(problem["text"])), problem["family"]) for problem in self._problems]
        return torch.tensor(forms)

    # --- text ----------------------------------------------------------------------------------------------------

    def text(self, problem: int) -> str:
        return f"{self._problems[problem]['text']}\n\n{_REQUEST}"

    def answer_text(self, answer: int) -> str:
        return f"Answer: {self._problems[answer]['answer']}"

    def plain(self, sentence: str) -> str:
        """Without the request; case matters."""
        return sentence.strip().removesuffix(_REQUEST).strip()

    def verify(self, problem: int, text: str) -> bool:
        """Whether the last ``Answer:``, or else the last line, is the right answer; see `kdgym.tasks.champ.answers`."""
        return is_right(text, self._problems[problem]["answer"])

    def advice(self, problem: int, kind: str) -> list[str]:
        """See `Task.advice`."""
        if kind == "full_solution":
            return [*self._problems[problem]["next_step"], self.answer_text(problem)]
        sentences: list[str] = self._problems[problem][kind]
        return sentences


def _bare(text: str) -> str:
    return re.sub(r"[\s.,;:?!]", "", unicodedata.normalize("NFKC", text).casefold())


def _unique(sentences: Any) -> list[str]:
    return list(dict.fromkeys(sentences))


def _families(problems: list[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """The first sibling of every problem: those are siblings that share a hint or a step of the solution."""
    sentences: dict[str, int] = {}
    said = [[sentences.setdefault(text, len(sentences)) for text in p["hint"] + p["next_step"]] for p in problems]
    row, column = np.array([(i, sentence) for i, mine in enumerate(said) for sentence in mine]).T
    shape = len(problems), len(sentences)
    shares = csr_array((np.ones(len(row), dtype=np.int64), (row, column)), shape=shape)
    _, family = connected_components(shares @ shares.T, directed=False)
    _, first = np.unique(family, return_index=True)
    eldest: npt.NDArray[np.int64] = first[family]
    return eldest


def _split(identifier: str, version: int) -> int:
    digest = hashlib.sha256(f"{version} {identifier}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return int(splits_at(place, _SPLIT_SHARES))


def _read() -> Any:
    """The data as the package ships it: JSON with problems, hints and concepts."""
    try:
        import math_verify  # noqa: F401  # the verifier needs it, and should say so before a lesson begins

        file = resources.files("champ_dataset") / "dataset_files" / "v0.json"
    except ImportError as error:
        raise ImportError(
            "The task CHAMP needs the packages champ-dataset and math-verify: pip install 'kdgym[llm]'."
        ) from error
    return json.loads(file.read_text(encoding="utf-8"))
