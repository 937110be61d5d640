"""Texts side by side in one sequence: a row a student, no padding but at its end, and what all prompts begin with only once.

A row reads ``prefix, prompt 0, answer 0, prompt 1, answer 1, ...``. A token sees the prefix and what stands before it in its
own item, at the same distance as if it stood alone, so a causal model computes for every item what it would compute for it
alone. The prefix (a system message, the same first words) is computed once a row instead of once an item; for short items
that is half of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PREFIX, _PADDING, _HIDDEN = -1, -2, -3  # owners that are no item

Item = tuple[list[int], list[int]]  # tokens of a prompt, tokens of its answer


@dataclass
class Pack:
    """Rows of S students with n items each at most, L tokens long.

    Attributes:
        tokens: int64 [S, L].
        owner: whose token it is, int64 [S, L]: an item's number within the row, or none's.
        position: distance from the beginning of its text, int64 [S, L].
        ask: slot of each prompt's last token, int64 [S, n]; 0 where there is no item.
        length: tokens of each item alone, prompt and answer, int64 [S, n]; 0 where there is none.
        prompt_length: tokens of each prompt alone, int64 [S, n].
        row, slot: where the A answer tokens of all items are predicted, int64 [A] each.
        target: what should be predicted there, int64 [A].
        item: whose it is, ``row * n + number``, int64 [A].
        answer_length: answer tokens of each item, int64 [S, n].
    """

    tokens: Tensor
    owner: Tensor
    position: Tensor
    ask: Tensor
    length: Tensor
    prompt_length: Tensor
    row: Tensor
    slot: Tensor
    target: Tensor
    item: Tensor
    answer_length: Tensor

    @property
    def number(self) -> Tensor:
        """Which of its row's items every answer token belongs to, int64 [A]."""
        return self.item % self.answer_length.shape[1]

    @property
    def place(self) -> Tensor:
        """Which of its answer's tokens every answer token is, int64 [A]."""
        begin = self.answer_length.flatten().cumsum(0) - self.answer_length.flatten()
        return torch.arange(len(self.item), device=self.item.device) - begin[self.item]

    @property
    def used(self) -> int:
        """Tokens that are no padding."""
        return int((self.owner != _PADDING).sum())

    def to(self, device: torch.device) -> Pack:
        """The same on another device."""
        return Pack(**{name: value.to(device) for name, value in vars(self).items()})

    def mask(self) -> Tensor:
        """Which slots [S, 1, L, L] each slot sees; padding sees itself, so that nothing is divided by zero."""
        own = self.owner[:, :, None] == self.owner[:, None, :]
        return ((own | (self.owner == _PREFIX)[:, None, :]).tril()).unsqueeze(1)

    def hide_answers(self) -> None:
        """Make the answers invisible for what is written from here on."""
        asked = self.ask.gather(1, self.owner.clamp_min(0))
        slot = torch.arange(self.owner.shape[1], device=self.owner.device)
        self.owner = self.owner.masked_fill((self.owner >= 0) & (slot > asked), _HIDDEN)

    def append(self, item: Tensor) -> Tensor:
        """Add one slot each for the items ``item`` [S, m] (-1: none); which slots [S, 1, m, L + m] they see."""
        new = torch.where(item >= 0, item, _PADDING)
        self.owner = torch.cat([self.owner, new], dim=1)
        own = new[:, :, None] == self.owner[:, None, :]
        return (own | (self.owner == _PREFIX)[:, None, :]).unsqueeze(1)


def _common_prefix(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with; every prompt keeps at least one of its own."""
    if not prompts:
        return 0
    first, last = min(prompts), max(prompts)  # what these share, all that sort between them share
    length = min(len(prompt) for prompt in prompts) - 1
    return next((i for i in range(length) if first[i] != last[i]), length)


def pack(rows: Sequence[Sequence[Item]]) -> Pack:
    """Pack every row's items.

    Args:
        rows: prompts, each of at least one token, with their answers; an answer's last token is predicted, but not read.
    """
    width = max(1, *map(len, rows))
    columns: dict[str, list[list[int]]] = {"tokens": [], "owner": [], "position": []}
    places: dict[str, list[list[int]]] = {"ask": [], "length": [], "prompt_length": [], "answer_length": []}
    flat: dict[str, list[int]] = {"row": [], "slot": [], "target": [], "item": []}
    for r, items in enumerate(rows):
        prefix = _common_prefix([prompt for prompt, _ in items])
        tokens, owner, position = list(items[0][0][:prefix]) if items else [], [_PREFIX] * prefix, list(range(prefix))
        entry: dict[str, list[int]] = {name: [0] * width for name in places}
        for i, (prompt, answer) in enumerate(items):
            text = [*prompt[prefix:], *answer[:-1]]
            entry["ask"][i] = len(tokens) + len(prompt) - prefix - 1
            entry["length"][i], entry["prompt_length"][i] = len(prompt) + len(answer), len(prompt)
            entry["answer_length"][i] = len(answer)
            flat["row"] += [r] * len(answer)
            flat["slot"] += range(entry["ask"][i], entry["ask"][i] + len(answer))
            flat["target"] += answer
            flat["item"] += [r * width + i] * len(answer)
            tokens += text
            owner += [i] * len(text)
            position += range(prefix, prefix + len(text))
        for name, column in (("tokens", tokens), ("owner", owner), ("position", position)):
            columns[name].append(column)
        for name, place in entry.items():
            places[name].append(place)
    longest = max(1, *map(len, columns["tokens"]))
    filler = {"tokens": 0, "owner": _PADDING, "position": 0}
    padded = {
        name: torch.tensor([row + [filler[name]] * (longest - len(row)) for row in column])
        for name, column in columns.items()
    }
    return Pack(
        **padded,
        **{name: torch.tensor(place) for name, place in places.items()},
        **{name: torch.tensor(column, dtype=torch.int64) for name, column in flat.items()},
    )
