"""How tiny students read: nothing is lost, and little is spelled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdgym.tasks.spelling import PADDING, common_parts, read_answer, spell_answer, spell_problems


@given(st.lists(st.text(max_size=20), min_size=1), st.text(max_size=20))
def test_an_answer_is_read_as_it_was_spelled(answers: list[str], answer: str) -> None:
    assert read_answer(spell_answer(answer, common_parts([*answers, answer]))) == answer


@given(st.lists(st.text("ab 1-2,.\n", min_size=1, max_size=12), min_size=1, unique=True))
def test_different_problems_are_spelled_differently(problems: list[str]) -> None:
    spelled = [tuple(row) for row in spell_problems(problems)]
    assert len(set(spelled)) == len(problems)
    width = max(map(len, spelled))
    assert len({(PADDING,) * (width - len(row)) + row for row in spelled}) == len(problems)  # as a table holds them


def test_a_template_is_left_out_and_numbers_stand_in_columns() -> None:
    problems = [f"What is the sum of {a} and {b}? Say it." for a, b in ((4, 17), (256, 3), (17, 4))]
    rows = ["".join(token or "_" for token in row) for row in spell_problems(problems)]
    assert rows == ["4__71_", "6523__", "71_4__"]


def test_a_word_that_many_have_is_one_token_and_a_rare_one_is_spelled() -> None:
    problems = [f"{'double' if i % 2 else 'triple'} {'odd' if i == 7 else i}" for i in range(100)]
    spelled = spell_problems(problems)
    assert spelled[3] == ["double", "3", PADDING] and spelled[7] == ["double", "o", "d", "d"]


def test_common_parts_of_answers_are_one_token() -> None:
    answers = [f"{i} days and {i % 7} hours" for i in range(50)]
    common = common_parts(answers)
    assert spell_answer("12 days and 3 hours", common) == ["2", "1", " days and ", "3", " hours"]
    assert spell_answer("no", common) == ["n", "o"]
