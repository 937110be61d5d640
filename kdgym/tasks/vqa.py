"""Questions about pictures of real handwritten digits: fifteen skills, from "is the cell empty" to "which one is odd".

An item: a picture of two rows of three cells with a 7 in cell B and a 4 in cell E, and ``What is the sum of the digits in
cells B and E? Answer with the number only.`` with the answer ``11``. The verifier accepts exactly one number in ASCII
digits without leading zeros, one cell's letter, or one word; upper and lower case and surrounding blanks do not matter.

The digits are the 1,797 handwritten ones of scikit-learn's `load_digits`, 8 x 8 pixels of 0 (paper) to 16 (ink). A cell is
one patch of 8 x 8 pixels: empty, a digit at full size, or a small one (5 x 5 pixels, in one of the cell's corners). A
student reads the six patches, in the order A to F, and then the tokens of the question, ``word argument``: the argument is
a cell, a pair of cells or a digit, and a question without one is padding and its word. Whatever says where to look thus
stands last, where the answer is predicted. The answer is one token; questions and answers share a vocabulary.

Every skill asks as many questions for each answer as there are, for every argument alike, so neither the question nor the
number of digits in the picture gives the answer away.

Splits: a hash assigns every *source image* to train, validation or test, and a scene is composed of images of one split. So
no piece of handwriting is in two splits; the writers are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import SPLITS, Pool, Skill, Split

Ints = npt.NDArray[np.int64]
ROWS, COLUMNS, SIDE, SMALL = 2, 3, 8, 5
CELLS = "ABCDEF"
PAIRS = tuple(itertools.combinations(range(ROWS * COLUMNS), 2))
_FIRST, _SECOND = np.array(PAIRS).T
_MOST = 3  # how many of one digit a question counts
_SPLIT_SHARES = (0.70, 0.15, 0.15)
_SCENES = (12_000, 2_400, 2_400)
_PROBLEMS = (3_000, 500, 500)  # at most, of a skill
_ANSWERS = (*map(str, range(19)), *CELLS, "no", "yes", "smaller", "equal", "larger")
# Where the answers of a kind lie among all answers, and how the format is asked for.
_KINDS = {
    "digit": (0, 10, "the digit"),
    "count": (0, ROWS * COLUMNS + 1, "the number"),
    "few": (0, _MOST + 1, "the number"),
    "sum": (0, 19, "the number"),
    "cell": (19, len(CELLS), "the letter of the cell"),
    "bit": (25, 2, "yes or no"),
    "order": (27, 3, "smaller, equal or larger"),
}
_LAYOUT = "The picture has six cells: A, B, C from left to right in the upper row, D, E, F in the lower row. "


def _shown(digit: Ints, value: npt.ArrayLike) -> Ints:
    """``value`` where there is a digit; -1, which means "not asked", in an empty cell."""
    return np.where(digit >= 0, value, -1)


def _of_pair(digit: Ints, relation: Callable[[Ints, Ints], npt.ArrayLike]) -> Ints:
    first, second = digit[:, _FIRST], digit[:, _SECOND]
    return _shown(np.minimum(first, second), relation(first, second))


def _hits(digit: Ints) -> npt.NDArray[np.bool_]:
    """bool [M, 10, 6]: where each of the ten digits is."""
    hits: npt.NDArray[np.bool_] = digit[:, None] == np.arange(10)[:, None]
    return hits


def _count(digit: Ints) -> Ints:
    count = _hits(digit).sum(2)
    return np.where(count <= _MOST, count, -1)


def _cell_of(digit: Ints) -> Ints:
    """int64 [M, 10]: the cell of every digit that is there exactly once."""
    hits = _hits(digit)
    return np.where(hits.sum(2) == 1, hits.argmax(2), -1)


def _left_of_next(digit: Ints) -> Ints:
    cell = _cell_of(digit)
    following = np.roll(cell, -1, axis=1)
    return _shown(np.minimum(cell, following), cell % COLUMNS < following % COLUMNS)


def _odd_one_out(digit: Ints) -> Ints:
    """The cell whose digit differs from all others, which are alike and at least two."""
    alike = (digit[:, :, None] == digit[:, None]).sum(2)
    digits = (digit >= 0).sum(1, keepdims=True)
    others = ((digit >= 0) & (alike == digits - 1)).sum(1, keepdims=True)
    odd = (digit >= 0) & (alike == 1)
    return np.where((digits >= 3) & (others == digits - 1), odd.argmax(1)[:, None], -1)


def _small_one(digit: Ints, small: Ints) -> Ints:
    alone = small.sum(1) == 1
    return np.where(alone, digit[np.arange(len(digit)), small.argmax(1)], -1)[:, None]


@dataclass(frozen=True)
class _Rule(Skill):
    """A skill with its question, the kinds of its argument and its answer, and the answers of all scenes at once.

    ``solve`` gets the digits (-1: empty) and the sizes of the cells of M scenes, both int64 [M, 6], and returns the answer
    within its kind for every scene and argument; -1 where the question is not asked.
    """

    question: str = ""
    argument: str = "none"  # "cell", "pair", "digit" or "none"
    answers: str = "bit"
    solve: Callable[[Ints, Ints], Ints] = lambda digit, small: digit


RULES: tuple[_Rule, ...] = (
    _Rule("empty", "Whether a cell is empty.", (), "Is cell {cell} empty?", "cell", "bit",
          lambda digit, small: (digit < 0).astype(np.int64)),
    _Rule("size", "Whether a digit is a small one.", ("empty",), "Is the digit in cell {cell} small?", "cell", "bit",
          lambda digit, small: _shown(digit, small)),
    _Rule("identify", "Read the digit in a cell.", (), "Which digit is in cell {cell}?", "cell", "digit",
          lambda digit, small: digit),
    _Rule("parity", "Whether the digit in a cell is odd.", ("identify",), "Is the digit in cell {cell} odd?", "cell",
          "bit", lambda digit, small: _shown(digit, digit % 2)),
    _Rule("same", "Whether two cells hold the same digit.", ("identify",),
          "Do cells {first} and {second} hold the same digit?", "pair", "bit",
          lambda digit, small: _of_pair(digit, np.equal)),
    _Rule("compare", "Which relation holds between the digits of two cells.", ("identify",),
          "Is the digit in cell {first} smaller than, equal to or larger than the digit in cell {second}?", "pair",
          "order", lambda digit, small: _of_pair(digit, lambda a, b: 1 + np.sign(a - b))),
    _Rule("sum", "Add the digits of two cells.", ("identify",),
          "What is the sum of the digits in cells {first} and {second}?", "pair", "sum",
          lambda digit, small: _of_pair(digit, np.add)),
    _Rule("exists", "Whether a digit is anywhere.", ("identify",), "Is there a {digit}?", "digit", "bit",
          lambda digit, small: _hits(digit).any(2).astype(np.int64)),
    _Rule("locate", "Find the cell of a digit.", ("exists",), "In which cell is the {digit}?", "digit", "cell",
          lambda digit, small: _cell_of(digit)),
    _Rule("count", "Count how often a digit is there.", ("exists",), "How often is there a {digit}?", "digit", "few",
          lambda digit, small: _count(digit)),
    _Rule("left_of", "Whether a digit is further left than the next one.", ("locate",),
          "Is the {digit} in a column further left than the column of the {next}?", "digit", "bit",
          lambda digit, small: _left_of_next(digit)),
    _Rule("how_many", "Count the digits.", ("empty",), "How many cells hold a digit?", "none", "count",
          lambda digit, small: (digit >= 0).sum(1, keepdims=True)),
    _Rule("small_one", "Read the only small digit.", ("size", "identify"), "Which digit is the small one?", "none",
          "digit", _small_one),
    _Rule("largest", "The largest of all digits.", ("compare",), "Which is the largest digit?", "none", "digit",
          lambda digit, small: digit.max(1, keepdims=True)),
    _Rule("odd_one_out", "Find the digit that differs from all others, which are alike.", ("same",),
          "Which cell holds a digit that differs from all others?", "none", "cell",
          lambda digit, small: _odd_one_out(digit)),
)  # fmt: skip

_ARGUMENTS: dict[str, tuple[dict[str, str | int], ...]] = {
    "cell": tuple({"cell": name} for name in CELLS),
    "pair": tuple({"first": CELLS[a], "second": CELLS[b]} for a, b in PAIRS),
    "digit": tuple({"digit": digit, "next": (digit + 1) % 10} for digit in range(10)),
    "none": ({},),
}
_PADDING = len(_ANSWERS)
_FIRST_TOKEN = {"digit": 0, "cell": _ANSWERS.index("A"), "pair": _PADDING + 1}  # of an argument
_FIRST_WORD = _PADDING + 1 + len(PAIRS)


def _prompt(rule: int, argument: Ints) -> Ints:
    """Tokens of the questions ``rule`` asks about each of the arguments: int64 [P, 2]."""
    word = np.full_like(argument, _FIRST_WORD + rule)
    if RULES[rule].argument == "none":
        return np.stack([np.full_like(argument, _PADDING), word], axis=1)
    return np.stack([word, _FIRST_TOKEN[RULES[rule].argument] + argument], axis=1)


def _question(rule: int, argument: int) -> tuple[str, str]:
    """A question, and the sentence about the format of its answer."""
    words = RULES[rule]
    text = words.question.format(**_ARGUMENTS[words.argument][argument])
    return text, f"Answer with {_KINDS[words.answers][2]} only."


@lru_cache(maxsize=1)
def _questions() -> dict[str, tuple[int, int]]:
    """Rule and argument of every question, by its lower-case text with and without the sentence about the format."""
    questions = {}
    for rule, words in enumerate(RULES):
        for argument in range(len(_ARGUMENTS[words.argument])):
            text, form = _question(rule, argument)
            questions[text.lower()] = questions[f"{text} {form}".lower()] = (rule, argument)
    return questions


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


@lru_cache(maxsize=1)
def _digits() -> tuple[Ints, Ints]:
    """The images, int64 [1797, 8, 8] of 0 to 16, and the digit each shows."""
    from sklearn.datasets import load_digits

    pixels, digit = load_digits(return_X_y=True)
    return pixels.reshape(-1, SIDE, SIDE).astype(np.int64), digit.astype(np.int64)


def _stamps(images: Ints) -> npt.NDArray[np.uint8]:
    """What each image looks like in a cell, uint8 [images + 1, 5, 64]: full size, then small in each corner.

    The last row is the empty cell, so that a missing image (-1) finds it.
    """
    fine = images.repeat(SMALL, axis=1).repeat(SMALL, axis=2)  # area averages of SIDE x SIDE pixels of this make a small one
    blocks = fine.reshape(-1, SMALL, SIDE, SMALL, SIDE).sum((2, 4))
    small = (blocks + SIDE * SIDE // 2) // (SIDE * SIDE)
    stamps = np.zeros((len(images) + 1, 5, SIDE, SIDE), dtype=np.uint8)
    stamps[:-1, 0] = images
    free = SIDE - SMALL
    for corner, (top, left) in enumerate(itertools.product((0, free), repeat=2)):
        stamps[:-1, 1 + corner, top : top + SMALL, left : left + SMALL] = small
    return stamps.reshape(len(images) + 1, 5, SIDE * SIDE)


class _Cell(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    digit: Annotated[int, Field(ge=0, le=9)]
    variant: Annotated[int, Field(ge=0)]
    small: bool = False
    corner: Annotated[int, Field(ge=0, le=3)] = 0


class _Scene(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    cells: Annotated[list[_Cell | None], Field(min_length=ROWS * COLUMNS, max_length=ROWS * COLUMNS)]
    question: Annotated[str, Field(max_length=200)]


class Rendered(NamedTuple):
    """An item of a teacher's own making.

    Attributes:
        patches: uint8 [6, 64].
        prompt: int64 [T], the tokens of the question.
        solution: id of the right answer.
    """

    patches: Tensor
    prompt: Tensor
    solution: int


class VQA:
    """The visual task. See the module's docstring for the format and `kdgym.tasks.base.Task` for the common attributes.

    Attributes:
        patch_count: patches a picture consists of, one a cell.
        patch_pixels: pixels of a patch.
        pixel_scale: the darkest pixel.
        free_form: whether problems other than the table's can be verified from their text alone.
        scene: int64 [P], the picture of every problem.
        scenes: uint8 [M, patch_count, patch_pixels], the pictures.
        digit: int64 [M, 6], the digit in every cell; -1 where there is none.
        small: bool [M, 6].
        source: int64 [M, 6], index of the source image; -1 where there is none.
        argument: int64 [P], which of the skill's arguments (cells, pairs, digits) a problem asks about.
        split_of_image: int64 [1797], index into `SPLITS` of every source image.
    """

    name = "VQA"
    version = 0
    patch_count = ROWS * COLUMNS
    patch_pixels = SIDE * SIDE
    pixel_scale = 16
    free_form = False

    def __init__(self) -> None:
        self.skills: tuple[Skill, ...] = RULES
        self.vocabulary = _FIRST_WORD + len(RULES)
        self.answer = torch.arange(len(_ANSWERS)).unsqueeze(1)
        bounds = torch.tensor([_KINDS[rule.answers][:2] for rule in RULES])
        self.answer_pool = Pool(bounds[:, 0], bounds[:, 1])
        images, self._shows = _digits()
        self._looks = _stamps(images)
        self._key = torch.tensor(self.version)
        split = random.uniform(random.fold(self._key, 0, torch.arange(len(images))), 1)[:, 0].numpy()
        self._split = np.searchsorted(np.cumsum(_SPLIT_SHARES)[:-1], split, side="right")
        self.split_of_image = torch.from_numpy(self._split)
        self._variants = [[np.flatnonzero((self._shows == d) & (self._split == s)) for d in range(10)] for s in range(3)]
        self._build_scenes()
        self._build_problems()

    def _build_scenes(self) -> None:
        """A third of the scenes consists of anything, a third repeats a digit, a third is like but for one cell."""
        split = np.repeat(np.arange(len(SPLITS)), _SCENES)
        key = random.fold(self._key, 1, torch.arange(len(split)))
        n = self.patch_count

        def draw(purpose: int, high: int, count: int = n) -> Ints:
            return random.integers(random.fold(key, purpose), count, high).numpy()

        place = draw(0, 1 << 30).argsort(1).argsort(1)  # the digits' order: 0 is the first digit, and the odd one
        shown = place < 1 + draw(1, n, 1)
        theme, kind, free = draw(2, 10, 1), draw(3, 3, 1), draw(4, 10)
        other = (theme + 1 + draw(5, 9, 1)) % 10
        repeats = np.where(draw(6, 2) == 0, theme, free)
        odd = np.where(place == 0, other, theme)
        digit = np.where(shown, np.choose(kind, [free, repeats, odd]), -1)
        form = np.where(draw(7, 10) < 3, 1 + draw(8, 4), 0)
        choice = draw(9, 1 << 30)
        source = np.full_like(digit, -1)
        for s, d in itertools.product(range(len(SPLITS)), range(10)):
            here = (split == s)[:, None] & (digit == d)
            source[here] = self._variants[s][d][choice[here] % len(self._variants[s][d])]
        self._scene_split = split
        self.digit, self.source = torch.from_numpy(digit), torch.from_numpy(source)
        self.small = torch.from_numpy(shown & (form > 0))
        self.scenes = torch.from_numpy(self._looks[source, form])

    def _build_problems(self) -> None:
        digit, small = self.digit.numpy(), self.small.numpy().astype(np.int64)
        crowd = (digit >= 0).sum(1)
        prompts, solutions, scenes, arguments, counts = [], [], [], [], []
        for k, rule in enumerate(RULES):
            answers = rule.solve(digit, small)
            for s, most in enumerate(_PROBLEMS):
                here = np.where((self._scene_split == s)[:, None], answers, -1)
                scene, argument = _balanced(here, crowd, random.fold(self._key, 2, k), most)
                prompts.append(_prompt(k, argument))
                solutions.append(_KINDS[rule.answers][0] + answers[scene, argument])
                scenes.append(scene)
                arguments.append(argument)
                counts.append(len(scene))
        count = torch.tensor(counts).view(len(RULES), len(SPLITS))
        start = (count.flatten().cumsum(0) - count.flatten()).view_as(count)
        self._pools = {split: Pool(start[:, i].clone(), count[:, i].clone()) for i, split in enumerate(SPLITS)}
        self.prompt = torch.from_numpy(np.concatenate(prompts))
        self.solution = torch.from_numpy(np.concatenate(solutions))
        self.scene = torch.from_numpy(np.concatenate(scenes))
        self.argument = torch.from_numpy(np.concatenate(arguments))
        self.skill_of = torch.arange(len(RULES)).repeat_interleave(count.sum(1))

    def pool(self, split: Split) -> Pool:
        return self._pools[split]

    def text(self, problem: int) -> str:
        return _LAYOUT + " ".join(_question(int(self.skill_of[problem]), int(self.argument[problem])))

    def answer_text(self, answer: int) -> str:
        return _ANSWERS[answer]

    def verify(self, problem: int, text: str) -> bool:
        given = text.strip(" \t\r\n")
        return given.isascii() and given.lower() == _ANSWERS[int(self.solution[problem])].lower()

    def image(self, problem: int, scale: int = 8) -> npt.NDArray[np.uint8]:
        """The picture of ``problem`` for people and vision-language models: uint8 [H, W, 3], dark ink on white paper."""
        return self.draw(self.scenes[self.scene[problem]], scale)

    def draw(self, patches: Tensor, scale: int = 8) -> npt.NDArray[np.uint8]:
        """Patches, uint8 [6, 64], as a picture: ``scale`` points a pixel and a thin line around every cell."""
        side = SIDE * scale
        picture = np.full((ROWS * (side + 1) + 1, COLUMNS * (side + 1) + 1, 3), (70, 110, 200), dtype=np.uint8)
        for cell, pixels in enumerate(patches.numpy()):
            top, left = ((side + 1) * place + 1 for place in divmod(cell, COLUMNS))
            grey = 255 - pixels.astype(np.int64) * 255 // self.pixel_scale
            grey = grey.reshape(SIDE, SIDE).repeat(scale, axis=0).repeat(scale, axis=1)
            picture[top : top + side, left : left + side] = grey[..., None]
        return picture

    def variants(self, digit: int) -> int:
        """How many images of ``digit`` a teacher's own scene may use; all are of the train split."""
        return len(self._variants[0][digit])

    def render(self, spec: Any) -> Rendered:
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
        rule, argument = _parse(scene.question)
        source = [self._find(CELLS[i], cell) if cell else -1 for i, cell in enumerate(scene.cells)]
        form = [1 + cell.corner if cell and cell.small else 0 for cell in scene.cells]
        digit = np.array([[cell.digit if cell else -1 for cell in scene.cells]])
        answer = RULES[rule].solve(digit, (np.array([form]) > 0).astype(np.int64))[0, argument]
        if answer < 0:
            raise ValueError(f"{scene.question!r} has no answer in this picture; ask what its cells do answer.")
        patches, prompt = self._looks[source, form], _prompt(rule, np.array([argument]))[0]
        return Rendered(
            torch.from_numpy(patches), torch.from_numpy(prompt), int(_KINDS[RULES[rule].answers][0] + answer)
        )

    def _find(self, name: str, cell: _Cell) -> int:
        images = self._variants[0][cell.digit]
        if cell.variant >= len(images):
            raise ValueError(
                f"Cell {name} asks for variant {cell.variant} of the digit {cell.digit}; choose 0 to {len(images) - 1}."
            )
        return int(images[cell.variant])


def _parse(question: str) -> tuple[int, int]:
    """Rule and argument of a question, with or without its introduction and its sentence about the answer's format."""
    given = question.strip(" \t\r\n").lower().removeprefix(_LAYOUT.lower())
    found = _questions().get(given)
    if found is None:
        known = "; ".join(rule.question for rule in RULES)
        raise ValueError(f"{question!r} is none of the questions; ask one of: {known}")
    return found
