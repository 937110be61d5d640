"""Strangers' words, before they are shown or signed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdgym.untrusted import printable


@given(st.text(st.characters(exclude_categories=())), st.integers(1, 400))
@example("\x1b]0;owned\x07\x1b[31m\r\n\ud800\u202e", 300)
@example("a" * 301, 300)
def test_words_are_one_printable_line_of_bounded_length(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) == min(len(text), most)
    shown.encode()
    if text.isprintable() and len(text) <= most:
        assert shown == text


def test_a_long_text_says_that_it_goes_on() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable(ValueError("x\ty")) == "x?y"
    with pytest.raises(ValueError, match="most is 0"):
        printable("x", 0)
