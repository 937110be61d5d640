"""Questions about pictures of real handwritten digits: fifteen skills, from "is the cell empty" to "which one is odd".

An item: a picture of two rows of three cells with a 5 in cell B and a 4 in cell E, and ``What is the sum of the digits in
cells B and E? Answer with the number only.`` with the answer ``9``. The verifier accepts exactly one number in ASCII digits
without leading zeros, one cell's letter, or one word; upper and lower case and surrounding blanks do not matter.

The digits are 8 x 8 pixels of 0 (paper) to 16 (ink). A cell is one patch: empty, a digit at full size, or a small one
(6 x 6 pixels, in one of the cell's corners). A student reads the six patches, in the order A to F, and then two tokens of
a question, ``word argument``: the argument is a cell, a pair of neighbouring cells or a digit, and a question without one
is padding and its word. What says where to look thus stands last, where the answer is predicted. The answer is one token;
questions and answers share a vocabulary, the same for any number of different digits.

Answers are balanced: for every argument a skill asks as many questions with one answer as with another, as far as there
are scenes for it, so a question does not give its answer away.

Splits: a hash assigns every *source image* to train, validation or test, and a scene is composed of images of one split.
So no image is in two splits; its writer is, for the data set does not say who wrote what.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import SPLITS, Misconception, Pool, Posed, Skill, Task, UnreadableError, pools_of, splits_at
from kdgym.tasks.vqa.handwriting import INK, Ints, load_images, make_stamps
from kdgym.tasks.vqa.questions import (
    ANSWERS,
    CELLS,
    COLUMNS,
    KINDS,
    LAYOUT,
    MISCONCEPTIONS,
    ROWS,
    RULES,
    VOCABULARY,
    make_prompt,
    parse_question,
    write_question,
)

_SMALL_SHARE = 0.15
_SCENES = (12_000, 2_400, 2_400)
_FIRST_SCENE = tuple(itertools.accumulate(_SCENES[:-1], initial=0))
_PROBLEMS = (3_000, 500, 500)  # at most, of a skill


def _rank(group: Ints, order: Ints) -> Ints:
    """Place of every element among those of its group, counted in the order of ``order`` (below 2**40)."""
    by_group = np.argsort((group << 40) + order, kind="stable")
    _, start, size = np.unique(group[by_group], return_index=True, return_counts=True)
    rank = np.empty_like(group)
    rank[by_group] = np.arange(len(group)) - np.repeat(start, size)
    return rank


def _balanced(answer: Ints, crowd: Ints, key: Tensor, most: int) -> tuple[Ints, Ints]:
    """Up to ``most`` questions (scene, argument) out of ``answer`` [M, arguments], as many for each answer as there are.

    Answers take turns for every argument, and for every answer the scenes take turns by ``crowd``, their number of digits:
    without that, crowded scenes would mean "yes, there is a 7".
    """
    scene, argument = np.nonzero(answer >= 0)
    arguments = answer.shape[1]
    chance = random.integers(random.fold(key, torch.from_numpy(scene * arguments + argument)), 1, 1 << 20)[:, 0].numpy()
    group = answer[scene, argument] * arguments + argument
    turn = _rank(group * (ROWS * COLUMNS + 1) + crowd[scene], chance)
    turn = _rank(group, (turn << 20) + chance)
    chosen = np.argsort((turn << 20) + chance, kind="stable")[:most]
    return scene[chosen], argument[chosen]


class _Cell(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    digit: Annotated[int, Field(ge=0, le=9)]
    variant: Annotated[int, Field(ge=0)]
    small: bool = False
    corner: Annotated[int, Field(ge=0, le=3)] = 0


class _Scene(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    cells: Annotated[list[_Cell | None], Field(min_length=ROWS * COLUMNS, max_length=ROWS * COLUMNS)]
    question: Annotated[str, Field(max_length=400)]


class VQA(Task):
    """The visual task. See the module's docstring for the format and `kdgym.tasks.base.Task` for the common attributes.

    Args:
        digits: how many different digits there are, from 0 on; 4 to 10. The fewer, the faster a skill is learned.

    Raises:
        ValueError: ``digits`` is out of range.

    Attributes:
        scene: int64 [P], the picture of every problem.
        scenes: uint8 [M, 6, 64], the pictures, a patch a cell.
        digit: int64 [M, 6], the digit in every cell; -1 where there is none.
        small: bool [M, 6].
        source: int64 [M, 6], index of the source image; -1 where there is none.
        argument: int64 [P], which cell, pair of cells (of `questions.PAIRS`) or digit a problem asks about.
        split_of_image: int64 [1797], index into `SPLITS` of every source image.
    """

    name = "VQA"
    version = 0
    misconceptions = MISCONCEPTIONS
    pixel_scale = 1 / INK
    scene: Tensor
    scenes: Tensor

    def __init__(self, digits: int = 6) -> None:
        if not 4 <= digits <= 10:
            raise ValueError(f"digits is {digits}; choose 4 to 10 different digits.")
        self.digits = digits
        self.skills: tuple[Skill, ...] = RULES
        self.vocabulary = VOCABULARY
        self.answer = torch.arange(len(ANSWERS)).unsqueeze(1)
        fewer = {"digit": digits, "sum": 2 * digits - 1}
        kinds = [rule.answers for rule in RULES]
        start, count = [KINDS[kind][0] for kind in kinds], [fewer.get(kind, KINDS[kind][1]) for kind in kinds]
        self.answer_pool = Pool(torch.tensor(start), torch.tensor(count))
        images, self._shows = load_images()
        self._looks = make_stamps(images)
        self._key = torch.tensor(self.version)
        split = random.uniform(random.fold(self._key, 0, torch.arange(len(images))), 1)[:, 0].numpy()
        self._split = splits_at(split)
        self.split_of_image = torch.from_numpy(self._split)
        self._variants = [
            [np.flatnonzero((self._shows == d) & (self._split == s)) for d in range(digits)] for s in range(3)
        ]
        self._build_scenes()
        self._build_problems()

    def _build_scenes(self) -> None:
        """A third of the scenes consists of anything, a third repeats a digit, a third is like but for one cell."""
        split = np.repeat(np.arange(len(SPLITS)), _SCENES)
        key = random.fold(self._key, 1, torch.arange(len(split)))
        n = ROWS * COLUMNS

        def pick(purpose: int, high: int, count: int = n) -> Ints:
            return random.integers(random.fold(key, purpose), count, high).numpy()

        place = pick(0, 1 << 30).argsort(1).argsort(1)  # the digits' order: 0 is the first digit, and the odd one
        shown = place < 1 + pick(1, n, 1)
        theme, kind, free = pick(2, self.digits, 1), pick(3, 3, 1), pick(4, self.digits)
        other = (theme + 1 + pick(5, self.digits - 1, 1)) % self.digits
        repeats = np.where(pick(6, 2) == 0, theme, free)
        odd = np.where(place == 0, other, theme)
        digit = np.where(shown, np.choose(kind, [free, repeats, odd]), -1)
        form = np.where(pick(7, 1 << 20) < _SMALL_SHARE * (1 << 20), 1 + pick(8, 4), 0)
        choice = pick(9, 1 << 30)
        source = np.full_like(digit, -1)
        for s, d in itertools.product(range(len(SPLITS)), range(self.digits)):
            here = (split == s)[:, None] & (digit == d)
            source[here] = self._variants[s][d][choice[here] % len(self._variants[s][d])]
        self.digit, self.source = torch.from_numpy(digit), torch.from_numpy(source)
        self.small = torch.from_numpy(shown & (form > 0))
        self.scenes, self._form = torch.from_numpy(self._looks[source, form]), form

    def _build_problems(self) -> None:
        digit, small = self.digit.numpy(), self.small.numpy().astype(np.int64)
        crowd = (digit >= 0).sum(1)
        prompts, solutions, scenes, arguments, counts = [], [], [], [], []
        for k, rule in enumerate(RULES):
            answers = rule.solve(digit, small)
            if rule.argument == "digit":
                answers = answers[:, : self.digits]
            for first, number, most in zip(_FIRST_SCENE, _SCENES, _PROBLEMS, strict=True):
                here = slice(first, first + number)
                scene, argument = _balanced(answers[here], crowd[here], random.fold(self._key, 2, k, first), most)
                scene += first
                prompts.append(make_prompt(k, argument))
                solutions.append(KINDS[rule.answers][0] + answers[scene, argument])
                scenes.append(scene)
                arguments.append(argument)
                counts.append(len(scene))
        count = np.array(counts).reshape(len(RULES), len(SPLITS))
        self.pools = pools_of(count)
        self.prompt = torch.from_numpy(np.concatenate(prompts))
        self.solution = torch.from_numpy(np.concatenate(solutions))
        self.scene = torch.from_numpy(np.concatenate(scenes))
        self.argument = torch.from_numpy(np.concatenate(arguments))
        self.skill_of = torch.from_numpy(np.repeat(np.arange(len(RULES)), count.sum(1)))

    def forms(self) -> Tensor:
        """See `Task.forms`: the images that a picture is composed of, whatever is asked about it."""
        return self.source[self.scene]

    def mistaken(self, misconception: Misconception) -> Tensor:
        answer = self.solution.clone()
        for k, rule in enumerate(RULES):
            if rule.name in misconception.wrong:
                here = (self.skill_of == k).nonzero().squeeze(1)
                scene, argument = self.scene[here], self.argument[here].numpy()
                seen = self.digit[scene].numpy(), self.small[scene].numpy().astype(np.int64)
                wrong = torch.from_numpy(misconception.wrong[rule.name](*seen)[np.arange(len(here)), argument])
                answer[here] = torch.where(wrong >= 0, KINDS[rule.answers][0] + wrong, answer[here])
        return self.answer[answer]

    def text(self, problem: int) -> str:
        return LAYOUT + " ".join(write_question(int(self.skill_of[problem]), int(self.argument[problem])))

    def answer_text(self, answer: int) -> str:
        return ANSWERS[answer]

    def verify(self, problem: int, text: str) -> bool:
        given = text.strip(" \t\r\n")
        return given.isascii() and given.lower() == ANSWERS[int(self.solution[problem])].lower()

    def variants(self, digit: int) -> int:
        """How many images of ``digit`` a teacher's own scene may use; all are of the train split.

        Raises:
            ValueError: the task has no such digit.
        """
        if not 0 <= digit < self.digits:
            raise ValueError(f"The digit is {digit}; choose 0 to {self.digits - 1}.")
        return len(self._variants[0][digit])

    def render(self, spec: Any) -> Posed:
        """Make an item of a teacher's own: its picture, its question's tokens and its right answer.

        Args:
            spec: ``{"cells": [...], "question": "..."}`` with six cells, A to F. A cell is None (empty) or ``{"digit": 3,
                "variant": 17, "small": False, "corner": 0}``: the 17th train image of a 3; ``small`` and ``corner`` (of a
                small digit: 0 to 3, row by row) may be missing. The question is worded as in `text`, case aside, with or
                without the sentences before and after it.

        Raises:
            ValueError: the spec has another form, names a variant that is not there, or asks what its picture does not
                answer (pydantic's ``ValidationError`` is one).
        """
        scene = _Scene.model_validate(spec)
        rule, argument = parse_question(scene.question)
        if RULES[rule].argument == "digit":
            self._require_digit(argument, "The question")
        source = [self._find(CELLS[i], cell) if cell else -1 for i, cell in enumerate(scene.cells)]
        form = [1 + cell.corner if cell and cell.small else 0 for cell in scene.cells]
        digit = np.array([[cell.digit if cell else -1 for cell in scene.cells]])
        answer = RULES[rule].solve(digit, (np.array([form]) > 0).astype(np.int64))[0, argument]
        if answer < 0:
            raise ValueError(f"{scene.question!r} has no answer in this picture; ask what its cells do answer.")
        patches, prompt = self._looks[source, form], make_prompt(rule, np.array([argument]))[0]
        solution, text = int(KINDS[RULES[rule].answers][0] + answer), LAYOUT + " ".join(write_question(rule, argument))
        return Posed(torch.from_numpy(prompt), torch.from_numpy(patches), solution, text, rule)

    def _find(self, name: str, cell: _Cell) -> int:
        self._require_digit(cell.digit, f"Cell {name}")
        images = self._variants[0][cell.digit]
        if cell.variant >= len(images):
            raise ValueError(
                f"Cell {name} asks for variant {cell.variant} of the digit {cell.digit}; choose 0 to {len(images) - 1}."
            )
        return int(images[cell.variant])

    def _require_digit(self, digit: int, who: str) -> None:
        if digit >= self.digits:
            raise ValueError(f"{who} asks for the digit {digit}; choose 0 to {self.digits - 1}.")

    def write_problem(self, problem: int) -> dict[str, Any]:
        """The spec of a train problem's picture, as `render` takes it.

        Raises:
            ValueError: the problem is held out.
        """
        scene = int(self.scene[problem])
        if scene >= _SCENES[0]:
            raise ValueError(f"Problem {problem} is held out, and no teacher may see its picture.")
        cells: list[dict[str, Any] | None] = []
        for digit, source, form in zip(
            self.digit[scene].tolist(), self.source[scene].tolist(), self._form[scene], strict=True
        ):
            if digit < 0:
                cells.append(None)
                continue
            cell = {"digit": digit, "variant": int(np.searchsorted(self._variants[0][digit], source))}
            cells.append({**cell, "small": True, "corner": int(form) - 1} if form else cell)
        question, _ = write_question(int(self.skill_of[problem]), int(self.argument[problem]))
        return {"cells": cells, "question": question}

    def read_problem(self, problem: str | dict[str, Any]) -> Posed:
        """A spec of `render`, which reaches no held-out picture."""
        try:
            return self.render(problem)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UnreadableError("problem", f"{where or 'the picture'}: {first['msg']}.") from error
        except ValueError as error:
            raise UnreadableError("problem", str(error)) from error

    def write_tokens(self, tokens: Tensor) -> str:
        token = int(tokens[0])
        return ANSWERS[token] if token < len(ANSWERS) else f"<{token}>"

    def plain_answer(self, text: str) -> str:
        """Upper and lower case are the same."""
        return super().plain_answer(text).lower()
