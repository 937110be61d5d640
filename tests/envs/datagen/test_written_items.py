"""What teachers write: read, refused with a reason, counted, and never the cause of an exception."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdgym.envs.datagen.written_items import MOST_CHARACTERS, REASONS, read_lesson
from kdgym.tasks import SPLITS, TASKS, TEXT_ONLY, Task, UnreadableError, make_task

pytestmark = pytest.mark.slow

TINY = [name for name in TASKS if name not in TEXT_ONLY]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(params=TINY)
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(request.param)


def item(task: Task, problem: int, answer: int | None = None) -> dict[str, Any]:
    right = int(task.solution[problem])
    return {"problem": task.write_problem(problem), "answer": task.answer_text(right if answer is None else answer)}


def train_problems(task: Task, each: int = 20) -> list[int]:
    pool = task.pool("train")
    return [int(start) + i for start in pool.start for i in range(each)]


def test_what_the_task_writes_it_reads_again(task: Task) -> None:
    problems = train_problems(task)
    lesson = read_lesson(task, json.dumps([item(task, problem) for problem in problems]), 10_000)
    assert not lesson.rejected
    assert lesson.processed == len(problems) == len(lesson.answer)
    assert all(lesson.right)
    if task.name != "Code":  # whose synonyms have one sentence
        assert torch.equal(torch.stack(lesson.prompt), task.prompt[problems])
    if task.scene is not None and task.scenes is not None:
        assert torch.equal(torch.stack(lesson.image), task.scenes[task.scene[problems]])


@pytest.mark.thorough
def test_every_answer_is_read_as_it_is_written(task: Task) -> None:
    for i in range(len(task.answer)):
        assert torch.equal(task.read_answer(task.answer_text(i)), task.answer[i])
        assert task.write_tokens(task.answer[i]) == task.answer_text(i)


def test_whatever_a_student_says_can_be_written(task: Task) -> None:
    for token in range(task.vocabulary):
        assert task.write_tokens(torch.full((task.answer.shape[1],), token))


def test_a_wrong_answer_is_accepted_and_known_to_be_wrong(task: Task) -> None:
    problem = train_problems(task)[0]
    wrong = (int(task.solution[problem]) + 1) % len(task.answer)
    lesson = read_lesson(task, json.dumps([item(task, problem, wrong)]), 10)
    assert lesson.right == [False]
    assert torch.equal(lesson.answer[0], task.answer[wrong])


def test_held_out_sentences_are_refused() -> None:
    task = make_task("Math")
    for split in ("validation", "test"):
        held_out = int(task.pool(split).start[1])
        lesson = read_lesson(task, json.dumps([item(task, held_out)]), 10)
        assert lesson.rejected == {"held_out": 1}
        assert lesson.answer == []


def test_held_out_pictures_cannot_even_be_described() -> None:
    task = make_task("VQA")
    with pytest.raises(ValueError, match="held out"):
        task.write_problem(int(task.pool("test").start[0]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_json"),
        ("items:", "not_json"),
        ("[1, 2", "not_json"),
        ("[NaN]", "not_json"),
        ("{}", "not_json"),
        ("3", "not_json"),
        ("[" * 5000, "not_json"),
        (" " * (MOST_CHARACTERS + 1), "not_json"),
        ('[{"problem": "x" , "answer": "' + "1" * 10_000_000 + '"}]', "not_json"),
        ("[5]", "malformed"),
        ("[[]]", "malformed"),
        ('[{"problem": "In base 6, what is 1 + 2?"}]', "malformed"),
        ('[{"problem": "In base 6, what is 1 + 2?", "answer": 3}]', "malformed"),
        ('[{"problem": "In base 6, what is 1 + 2?", "answer": "3", "weight": 9}]', "malformed"),
        ('[{"draw": 0}]', "malformed"),
        ('[{"draw": -5}]', "malformed"),
        ('[{"draw": 2.5}]', "malformed"),
        ('[{"draw": true}]', "malformed"),
        ('[{"problem": "Tell me a story.", "answer": "3"}]', "problem"),
        ('[{"problem": {"cells": []}, "answer": "3"}]', "problem"),
        ('[{"problem": "In base 6, what is 0 + 1?", "answer": "seven"}]', "answer"),
        ('[{"problem": "In base 6, what is 0 + 1?", "answer": "9"}]', "answer"),
        ('[{"problem": "In base 6, what is 0 + 1?", "answer": "\\u0663"}]', "answer"),
        ('[{"problem": "In base 6, what is 0 + 1?", "answer": "999999999999999"}]', "answer"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_used_is_refused_with_a_reason(text: str, reason: str) -> None:
    lesson = read_lesson(make_task("Math"), text, 100)
    assert dict(lesson.rejected) == {reason: 1}
    assert lesson.explained[0]
    assert lesson.processed == 1
    assert not lesson.answer and not lesson.drawn


def test_the_money_is_the_limit() -> None:
    task = make_task("Math")
    problems = train_problems(task)[:5]
    items: list[Any] = [*(item(task, problem) for problem in problems), {"draw": 100}, {"draw": 1}]
    lesson = read_lesson(task, json.dumps(items), 10)
    assert (len(lesson.answer), lesson.drawn, lesson.processed) == (5, 5, 10)
    assert lesson.rejected == {"over_budget": 96}
    assert read_lesson(task, json.dumps(items), 0).processed == 0


@given(JSON, st.integers(0, 5))
def test_nothing_a_teacher_writes_raises(value: Any, most: int) -> None:
    for name in TINY:
        for text in (
            json.dumps(value),
            json.dumps([value]),
            json.dumps([{"problem": value, "answer": "1"}]),
            str(value),
        ):
            lesson = read_lesson(make_task(name), text, most)
            assert lesson.processed <= most
            assert len(lesson.answer) + lesson.drawn <= lesson.processed
            assert set(lesson.rejected) <= set(REASONS)


@given(st.text(max_size=30))
def test_an_answer_is_read_or_the_message_says_what_is_wanted(text: str) -> None:
    for name in TINY:
        task, message = make_task(name), ""
        try:
            tokens = task.read_answer(text)
        except UnreadableError as error:
            message = str(error)
        if message:
            assert "wanted" in message or "choose" in message
        else:
            assert text.isascii()
            assert (task.answer == tokens).all(-1).any()


def test_only_train_problems_are_read() -> None:
    task = make_task("Math")
    for split in SPLITS:
        pool = task.pool(split)
        for start in pool.start.tolist():
            problem = task.write_problem(start)
            if split == "train":
                assert task.read_problem(problem).solution == int(task.solution[start])
            else:
                with pytest.raises(UnreadableError, match="kept for examinations"):
                    task.read_problem(problem)
