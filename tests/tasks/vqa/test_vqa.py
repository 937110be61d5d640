"""The visual task: every answer against plain Python, no handwriting in two splits, balanced answers, an exact verifier."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from graphlib import TopologicalSorter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from kdgym.tasks import SPLITS, Split, make_task
from kdgym.tasks.vqa.task import VQA
from kdgym.testing import check_splits

CELLS = "ABCDEF"
Cells = dict[str, tuple[int, bool]]  # digit and whether it is small, by the cell's letter; empty cells are missing


def yes(value: bool) -> str:
    return "yes" if value else "no"


def digits(cells: Cells) -> list[int]:
    return [digit for digit, _ in cells.values()]


def only(names: list[str]) -> str:
    (name,) = names
    return name


def cell_of(cells: Cells, digit: str) -> str:
    return only([name for name in cells if cells[name][0] == int(digit)])


def odd_one_out(cells: Cells) -> str:
    assert len(cells) >= 3 and sorted(Counter(digits(cells)).values())[:-1] == [1]
    return only([name for name in cells if digits(cells).count(cells[name][0]) == 1])


# Words of the question, and the answer out of the scene and what the question names.
SOLVE: dict[str, tuple[str, Callable[..., str]]] = {
    "empty": (r"Is cell (\w) empty\?", lambda s, c: yes(c not in s)),
    "size": (r"Is the digit in cell (\w) small\?", lambda s, c: yes(s[c][1])),
    "identify": (r"Which digit is in cell (\w)\?", lambda s, c: str(s[c][0])),
    "parity": (r"Is the digit in cell (\w) odd\?", lambda s, c: yes(s[c][0] in (1, 3, 5, 7, 9))),
    "same": (r"Do cells (\w) and (\w) hold the same digit\?", lambda s, a, b: yes(s[a][0] == s[b][0])),
    "compare": (
        r"Is the digit in cell (\w) smaller or larger than the digit in cell (\w)\?",
        lambda s, a, b: {-1: "smaller", 1: "larger"}[(s[a][0] > s[b][0]) - (s[a][0] < s[b][0])],
    ),
    "sum": (r"What is the sum of the digits in cells (\w) and (\w)\?", lambda s, a, b: str(s[a][0] + s[b][0])),
    "exists": (r"Is there a (\d)\?", lambda s, d: yes(int(d) in digits(s))),
    "locate": (r"In which cell is the (\d)\?", cell_of),
    "count": (r"How often is there a (\d)\?", lambda s, d: str(digits(s).count(int(d)))),
    "left_of": (
        r"Is the (\d) in a column further left than the column of the (\d)\?",
        lambda s, d, e: yes("ABCABC"[CELLS.index(cell_of(s, d))] < "ABCABC"[CELLS.index(cell_of(s, e))]),
    ),
    "how_many": (r"How many cells hold a digit\?", lambda s: str(len(s))),
    "small_one": (r"Which digit is the small one\?", lambda s: only([str(d) for d, small in s.values() if small])),
    "largest": (r"Which is the largest digit\?", lambda s: str(max(digits(s)))),
    "odd_one_out": (r"Which cell holds a digit that differs from all others\?", odd_one_out),
}
# The best blind guess, over what a fair guess among the answers gets: a skill whose answers are not quite balanced.
UNBALANCED = {"left_of": 1.2}


@pytest.fixture(scope="module")
def task() -> VQA:
    return make_task("VQA")  # type: ignore[return-value]


@pytest.fixture(scope="module", params=[4, 6, 10])
def sized(request: pytest.FixtureRequest) -> VQA:
    return VQA(request.param)


def cells_of(task: VQA, problem: int) -> Cells:
    digit, small = task.digit[task.scene[problem]].tolist(), task.small[task.scene[problem]].tolist()
    return {name: (d, s) for name, d, s in zip(CELLS, digit, small, strict=True) if d >= 0}


def skill_name(task: VQA, problem: int) -> str:
    return task.skills[int(task.skill_of[problem])].name


def problems(task: VQA, skill: int, split: Split) -> slice:
    pool = task.pool(split)
    return slice(int(pool.start[skill]), int(pool.start[skill] + pool.count[skill]))


# --- problems and answers ----------------------------------------------------------------------------------------


def test_every_solution_is_what_python_finds_in_the_scene(sized: VQA) -> None:
    for problem in range(0, len(sized.solution), 3):
        pattern, solve = SOLVE[skill_name(sized, problem)]
        found = re.search(pattern, sized.text(problem))
        assert found, sized.text(problem)
        assert sized.answer_text(int(sized.solution[problem])) == solve(cells_of(sized, problem), *found.groups())


def test_every_table_has_a_row_a_problem(sized: VQA) -> None:
    for table in (sized.solution, sized.scene, sized.skill_of, sized.argument):
        assert table.shape == (len(sized.prompt),) and table.dtype == torch.int64
    assert sized.prompt.dtype == sized.answer.dtype == torch.int64 and sized.answer.shape[1] == 1
    assert sized.scenes.dtype == torch.uint8 and int(sized.scenes.max()) * sized.pixel_scale == 1
    assert sized.scenes.shape[1:] == (6, 64)
    assert len(torch.stack([sized.skill_of, sized.scene, sized.argument], 1).unique(dim=0)) == len(sized.prompt)


def test_every_solution_is_one_of_the_answers_of_its_skill(sized: VQA) -> None:
    start, count = sized.answer_pool.start[sized.skill_of], sized.answer_pool.count[sized.skill_of]
    assert (start <= sized.solution).all() and (sized.solution < start + count).all()
    assert (start + count <= len(sized.answer)).all() and (count >= 2).all()


def test_a_question_has_its_own_tokens(task: VQA) -> None:
    tokens: dict[str, set[tuple[int, ...]]] = {}
    for problem, row in enumerate(task.prompt.tolist()):
        if problem % 5 == 0:
            tokens.setdefault(task.text(problem), set()).add(tuple(row))
    assert all(len(rows) == 1 for rows in tokens.values())
    assert len(set.union(*tokens.values())) == len(tokens)


def test_tokens_are_the_vocabulary() -> None:
    task = VQA(10)
    used = torch.cat([task.prompt.flatten(), task.answer.flatten()]).unique()
    assert torch.equal(used, torch.arange(task.vocabulary)) and task.vocabulary <= 64


def test_prerequisites_exist_and_have_no_cycle(task: VQA) -> None:
    graph = {skill.name: skill.prerequisites for skill in task.skills}
    assert list(graph) == list(SOLVE)
    assert set(TopologicalSorter(graph).static_order()) == set(graph)


@pytest.mark.parametrize("split", SPLITS)
def test_a_blind_guess_is_hardly_ever_right(sized: VQA, split: Split) -> None:
    """Neither the most frequent answer of a skill nor that of every single question is worth much."""
    for k, skill in enumerate(sized.skills):
        rows = problems(sized, k, split)
        solution, argument = sized.solution[rows], sized.argument[rows]
        table = torch.zeros(int(argument.max()) + 1, len(sized.answer))
        table.index_put_((argument, solution), torch.ones(len(solution)), accumulate=True)
        fair = UNBALANCED.get(skill.name, 1.0) / len(solution.unique())
        assert table.sum(0).max() / len(solution) < fair + 0.02, skill.name
        assert table.max(1).values.sum() / len(solution) < fair + 0.03, skill.name


def test_a_crowded_scene_does_not_mean_that_a_digit_is_there(task: VQA) -> None:
    k = list(SOLVE).index("exists")
    rows = problems(task, k, "train")
    crowd = (task.digit[task.scene[rows]] >= 0).sum(1)
    right = task.solution[rows] == task.solution[rows].max()
    for n in range(1, 7):
        assert right[crowd == n].double().mean() == pytest.approx(0.5, abs=0.06)


# --- pictures and splits -----------------------------------------------------------------------------------------


def test_scenes_show_their_source_images(task: VQA) -> None:
    pixels, shown = load_digits(return_X_y=True)
    source = task.source.numpy()
    there = source >= 0
    assert np.array_equal(there, task.digit.numpy() >= 0)
    assert np.array_equal(shown[source[there]], task.digit.numpy()[there])
    large = there & ~task.small.numpy()
    assert np.array_equal(task.scenes.numpy()[large], pixels[source[large]])
    assert not task.scenes.numpy()[~there].any() and not task.small.numpy()[~there].any()


def test_a_small_digit_keeps_its_darkness_and_stands_in_a_corner(task: VQA) -> None:
    patches = task.scenes[task.small].double().view(-1, 8, 8)
    edges = [patches[:, :2], patches[:, -2:], patches[:, :, :2], patches[:, :, -2:]]
    blank = torch.stack([(edge == 0).flatten(1).all(1) for edge in edges], 1)
    assert (blank[:, :2].any(1) & blank[:, 2:].any(1)).all()
    pixels = torch.from_numpy(load_digits(return_X_y=True)[0])[task.source[task.small]]
    ratio = patches.sum((1, 2)) / pixels.sum(1)
    assert ratio.min() > 0.54 and ratio.max() < 0.59  # 36 / 64 and rounding


def test_no_source_image_is_in_two_splits(sized: VQA) -> None:
    split_of = torch.full((len(sized.split_of_image),), -1)
    for i, split in enumerate(SPLITS):
        for k in range(len(sized.skills)):
            used = sized.source[sized.scene[problems(sized, k, split)]]
            used = used[used >= 0].unique()
            assert torch.isin(split_of[used], torch.tensor([-1, i])).all()
            split_of[used] = i
    used = split_of >= 0
    assert torch.equal(split_of[used], sized.split_of_image[used])
    pixels = torch.from_numpy(load_digits(return_X_y=True)[0])
    assert len(pixels.unique(dim=0)) == len(pixels), "an image is in the data twice"


def test_splits_are_70_15_15_of_the_images(task: VQA) -> None:
    share = task.split_of_image.bincount() / len(task.split_of_image)
    assert share.tolist() == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


@pytest.mark.parametrize(("split", "least"), [("train", 2000), ("validation", 400), ("test", 400)])
def test_every_skill_has_enough_problems_in_every_split(sized: VQA, split: Split, least: int) -> None:
    assert (sized.pool(split).count >= least).all()


def test_every_problem_is_in_one_pool_of_its_skill(sized: VQA) -> None:
    seen = torch.zeros_like(sized.solution)
    for split in SPLITS:
        for k in range(len(sized.skills)):
            rows = problems(sized, k, split)
            seen[rows] += 1
            assert (sized.skill_of[rows] == k).all()
    assert (seen == 1).all()


def test_the_public_check_of_splits_passes(task: VQA) -> None:
    check_splits(task)


# --- text and verdict --------------------------------------------------------------------------------------------


def find(task: VQA, question: str, answer: str) -> int:
    skill = next(k for k, (pattern, _) in enumerate(SOLVE.values()) if re.fullmatch(pattern, question))
    for problem in (task.skill_of == skill).nonzero().flatten().tolist():
        if question in task.text(problem) and task.answer_text(int(task.solution[problem])) == answer:
            return int(problem)
    raise AssertionError(f"{question} is never answered by {answer}")


def test_an_item_reads_like_this(task: VQA) -> None:
    problem = find(task, "What is the sum of the digits in cells B and E?", "9")
    assert task.text(problem) == (
        "The picture has six cells: A, B, C from left to right in the upper row, D, E, F in the lower row. A cell is empty or "
        "holds one handwritten digit, large or small (three quarters the size). What is the sum of the digits in cells B and "
        "E? Answer with the number only."
    )


def test_the_solution_alone_is_accepted(task: VQA) -> None:
    for problem in range(0, len(task.solution), 50):
        verdicts = [task.verify(problem, task.answer_text(answer)) for answer in range(len(task.answer))]
        assert verdicts.index(True) == task.solution[problem] and sum(verdicts) == 1


ACCEPTED = [
    ("Is there a 3?", "yes", ["yes", "Yes", "YES", " yes\n", "\t\r\nyEs "]),
    ("In which cell is the 3?", "E", ["E", "e", " e "]),
    ("What is the sum of the digits in cells A and B?", "10", ["10", " 10\n"]),
    ("Is the digit in cell A smaller or larger than the digit in cell B?", "larger", ["larger", "Larger"]),
]
REFUSED = [
    ("Is there a 3?", "yes", ["", " ", "no", "y", "yes.", "Yes!", "yes yes", "yes\nno", "no yes", "yes, there is", "1", "true",
                              '"yes"', "**yes**", "ye s", "yes\0", "\N{NO-BREAK SPACE}yes", "ye\N{LATIN SMALL LETTER LONG S}",
                              "\N{FULLWIDTH LATIN SMALL LETTER Y}es", "yes\x0b", "answer: yes"]),
    ("In which cell is the 3?", "E", ["F", "cell E", "E.", "(E)", "E F", "EE", "4", "\N{CYRILLIC CAPITAL LETTER IE}",
                                      "\N{FULLWIDTH LATIN CAPITAL LETTER E}", "\N{GREEK CAPITAL LETTER EPSILON}"]),
    ("What is the sum of the digits in cells A and B?", "10", ["1", "0", "010", "+10", "10.", "10.0", "1e1", "1_0", "1 0",
                                                             "ten", "5 + 5", "= 10", "\N{FULLWIDTH DIGIT ONE}0", "1\u0660",
                                                             "\u2469", "10\n10", "0xA", "$10$", "-10", "10 digits"]),
    ("Is the digit in cell A smaller or larger than the digit in cell B?", "larger",
     ["smaller", "large", ">", "larger than", "smaller or larger", "The digit in cell A is larger"]),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "texts"), ACCEPTED)
def test_case_and_blanks_around_do_not_matter(task: VQA, question: str, answer: str, texts: list[str]) -> None:
    problem = find(task, question, answer)
    assert [text for text in texts if not task.verify(problem, text)] == []


@pytest.mark.parametrize(("question", "answer", "texts"), REFUSED)
def test_anything_else_is_refused(task: VQA, question: str, answer: str, texts: list[str]) -> None:
    """A full stop, a sentence, mark-up or another script's digits are another answer: the format is part of the question."""
    problem = find(task, question, answer)
    assert [text for text in texts if task.verify(problem, text)] == []


# --- making a task -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [-1, 0, 3, 11])
def test_a_number_of_digits_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"digits is {count}; choose 4 to 10"):
        make_task("VQA", digits=count)


FINGERPRINT = """
import hashlib
from kdgym.tasks.vqa.task import VQA
task = VQA()
tables = (task.prompt, task.solution, task.scene, task.scenes, task.skill_of, task.source)
print(hashlib.sha256(b"".join(table.numpy().tobytes() for table in tables)).hexdigest())
"""


@pytest.mark.thorough
def test_a_task_is_the_same_in_every_process(task: VQA) -> None:
    tables = (task.prompt, task.solution, task.scene, task.scenes, task.skill_of, task.source)
    here = hashlib.sha256(b"".join(table.numpy().tobytes() for table in tables)).hexdigest()
    there = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here
