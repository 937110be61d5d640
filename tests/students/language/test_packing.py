"""Whatever is packed, every token sees what it would see if its item stood alone, and nothing else."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from kdgym.students.language.packing import Item, Pack, pack

TOKENS = st.lists(st.integers(1, 3), min_size=1, max_size=5)  # few tokens, so that beginnings are shared
ITEMS = st.lists(st.tuples(TOKENS, TOKENS), max_size=4)
ROWS = st.lists(ITEMS, min_size=1, max_size=3).filter(any)


def seen(packed: Pack, row: int, visible: torch.Tensor) -> list[int]:
    """The tokens a slot sees, in the order of their positions."""
    slots = visible.nonzero().flatten()
    order = packed.position[row, slots].argsort()
    assert packed.position[row, slots[order]].tolist() == list(range(len(slots)))
    tokens: list[int] = packed.tokens[row, slots[order]].tolist()
    return tokens


@given(ROWS)
def test_an_answers_tokens_are_predicted_from_the_whole_text_before_them(rows: list[list[Item]]) -> None:
    packed = pack(rows)
    mask, width = packed.mask()[:, 0], packed.ask.shape[1]
    done: dict[int, int] = {}
    for row, slot, target, item in zip(packed.row, packed.slot, packed.target, packed.item.tolist(), strict=True):
        prompt, answer = rows[int(row)][item % width]
        place = done.get(item, 0)
        assert seen(packed, int(row), mask[row, slot]) == [*prompt, *answer[:place]]
        assert target == answer[place]
        done[item] = place + 1
    assert sum(done.values()) == sum(len(answer) for items in rows for _, answer in items)


@given(ROWS)
def test_no_prompt_is_read_twice_and_padding_is_counted_as_such(rows: list[list[Item]]) -> None:
    packed = pack(rows)
    alone = sum(len(p) + len(a) - 1 for items in rows for p, a in items)
    assert packed.used <= alone
    assert packed.length.sum() == sum(len(p) + len(a) for items in rows for p, a in items)
    assert packed.mask().any(-1).all()  # nothing is divided by zero


@given(ROWS)
def test_what_is_written_sees_its_prompt_and_itself_but_not_the_solution(rows: list[list[Item]]) -> None:
    packed = pack(rows)
    packed.hide_answers()
    has = packed.length > 0
    item = torch.where(has, torch.arange(has.shape[1]), -1)
    for step in range(2):
        mask = packed.append(item)[:, 0]
        packed.tokens = torch.cat([packed.tokens, torch.full_like(item, 7 + step)], dim=1)
        packed.position = torch.cat([packed.position, packed.prompt_length + step], dim=1)
        for r, i in has.nonzero().tolist():
            assert seen(packed, r, mask[r, i]) == [*rows[r][i][0], *range(7, 8 + step)]
