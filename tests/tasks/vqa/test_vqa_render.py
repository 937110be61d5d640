"""Items of a teacher's own making: what they look like, what is refused, and that they never show held-out handwriting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from kdgym.tasks import make_task
from kdgym.tasks.vqa.task import VQA

QUESTION = "Is cell A empty?"


def the_task() -> VQA:
    return make_task("VQA")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def task() -> VQA:
    return the_task()


def with_cell(cell: Any, question: Any = QUESTION) -> dict[str, Any]:
    return {"cells": [None, cell, None, None, None, None], "question": question}


def test_a_rendered_problem_of_the_table_is_that_problem(task: VQA) -> None:
    train = {
        d: torch.unique(task.source[(task.digit == d) & (task.split_of_image[task.source] == 0)]) for d in range(6)
    }
    pool = task.pool("train")
    for problem in [int(start) + i for start in pool.start for i in range(0, 3000, 300)]:
        m = int(task.scene[problem])
        cells: list[Any] = []
        for digit, source, small, patch in zip(
            task.digit[m].tolist(), task.source[m].tolist(), task.small[m].tolist(), task.scenes[m], strict=True
        ):
            variant = train.get(digit, torch.tensor([])).tolist().index(source) if digit >= 0 else None
            ink = patch.view(8, 8)
            corner = 2 * int(not ink[6:].eq(0).all()) + int(not ink[:, 6:].eq(0).all())
            cell = {"digit": digit, "variant": variant, "small": small, "corner": corner if small else 0}
            cells.append(cell if digit >= 0 else None)
        item = task.render({"cells": cells, "question": task.text(problem)})
        assert torch.equal(item.prompt, task.prompt[problem]) and item.solution == task.solution[problem]
        same = (item.image == task.scenes[m]).all(1)
        assert same[~task.small[m]].all(), "a large digit or an empty cell differs"


@given(digit=st.integers(0, 5), data=st.data(), small=st.booleans(), corner=st.integers(0, 3))
def test_every_variant_is_handwriting_of_the_train_split(
    digit: int, data: st.DataObject, small: bool, corner: int
) -> None:
    task = the_task()
    variant = data.draw(st.integers(0, task.variants(digit) - 1))
    cell = {"digit": digit, "variant": variant, "small": small, "corner": corner}
    item = task.render(with_cell(cell, "Which digit is in cell B?"))
    assert item.image.shape == (6, 64) and item.image.dtype == torch.uint8 and item.prompt.dtype == torch.int64
    assert task.answer_text(item.solution) == str(digit)
    assert not item.image[[0, 2, 3, 4, 5]].any()
    large = task.render(with_cell({"digit": digit, "variant": variant}, "Which digit is in cell B?")).image[1]
    pixels, shown = load_digits(return_X_y=True)
    (source,) = np.flatnonzero((pixels == large.numpy()).all(1))
    assert task.split_of_image[source] == 0 and shown[source] == digit


def test_variants_reach_every_train_image(task: VQA) -> None:
    shown = torch.from_numpy(load_digits(return_X_y=True)[1])
    for digit in range(6):
        assert task.variants(digit) == int(((shown == digit) & (task.split_of_image == 0)).sum())
    with pytest.raises(ValueError, match="The digit is 6; choose 0 to 5"):
        task.variants(6)


@pytest.mark.parametrize(
    "question", [QUESTION, QUESTION.lower(), f" {QUESTION}\n", f"{QUESTION} Answer with yes or no only."]
)
def test_a_question_may_be_worded_like_this(task: VQA, question: str) -> None:
    item = task.render(with_cell(None, question))
    assert task.answer_text(item.solution) == "yes"


@pytest.mark.parametrize(
    "question",
    ["", "?", "Is cell A empty", "Is cell G empty?", "Is cell A empty? Answer with the digit only.", "Is there a 10?",
     "Is the digit in cell A smaller or larger than the digit in cell F?", "Do cells B and A hold the same digit?",
     "Is cell \N{CYRILLIC CAPITAL LETTER A} empty?", f"{QUESTION} {QUESTION}"],
)  # fmt: skip
def test_an_unknown_question_is_refused(task: VQA, question: str) -> None:
    with pytest.raises(ValueError, match="is none of the questions; ask one of: Is cell"):
        task.render(with_cell(None, question))


@pytest.mark.parametrize(
    "question", ["Which digit is in cell A?", "Is the digit in cell A small?", "Which digit is the small one?",
                 "Which is the largest digit?", "In which cell is the 3?"],
)  # fmt: skip
def test_a_question_the_picture_does_not_answer_is_refused(task: VQA, question: str) -> None:
    with pytest.raises(ValueError, match="has no answer in this picture"):
        task.render(with_cell(None, question))


def test_a_digit_the_task_does_not_have_is_refused(task: VQA) -> None:
    with pytest.raises(ValueError, match="Cell B asks for the digit 7; choose 0 to 5"):
        task.render(with_cell({"digit": 7, "variant": 0}))
    with pytest.raises(ValueError, match="The question asks for the digit 7; choose 0 to 5"):
        task.render(with_cell(None, "Is there a 7?"))


@given(digit=st.integers(0, 5), over=st.integers(0, 10**40))
def test_a_variant_out_of_range_is_refused(digit: int, over: int) -> None:
    task = the_task()
    variant = task.variants(digit) + over
    with pytest.raises(
        ValueError, match=f"variant {variant} of the digit {digit}; choose 0 to {task.variants(digit) - 1}"
    ):
        task.render(with_cell({"digit": digit, "variant": variant}))


JUNK = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2), st.binary(max_size=2),
    st.integers(max_value=-1),
    st.sampled_from([math.nan, math.inf, 1e308, 3.0, "3", 10**400, -(10**400), np.int64(3), torch.tensor(3)]),
)  # fmt: skip


@given(field=st.sampled_from(["digit", "variant", "corner"]), value=JUNK)
def test_a_number_that_is_none_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field}|variant"):
        the_task().render(with_cell({"digit": 3, "variant": 0, "corner": 0, field: value}))


@given(value=JUNK.filter(lambda value: not isinstance(value, bool)))
def test_a_size_that_is_no_boolean_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="small"):
        the_task().render(with_cell({"digit": 3, "variant": 0, "small": value}))


@given(cells=st.one_of(JUNK, st.lists(st.none(), max_size=9).filter(lambda cells: len(cells) != 6)))
def test_anything_but_six_cells_is_refused(cells: Any) -> None:
    with pytest.raises(ValueError, match="cells"):
        the_task().render({"cells": cells, "question": QUESTION})


@given(cell=JUNK.filter(lambda value: value is not None))
def test_a_cell_that_is_no_cell_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="cells"):
        the_task().render(with_cell(cell))


@given(question=JUNK)
def test_a_question_that_is_none_is_refused(question: Any) -> None:
    with pytest.raises(ValueError, match="question"):
        the_task().render(with_cell(None, question))


@pytest.mark.parametrize(
    "spec", [None, [], "x", {}, {"cells": [None] * 6}, {"question": QUESTION}, {**with_cell(None), "split": "test"},
             with_cell({"digit": 3, "variant": 0, "source": 5}), with_cell(None, "x" * 10**6)],
)  # fmt: skip
def test_a_spec_of_another_form_is_refused(task: VQA, spec: Any) -> None:
    with pytest.raises(ValueError, match="validation error"):
        task.render(spec)
