"""Action spaces of teachers, and spaces as plain data."""

from kdgym.spaces.boxes import (
    RATIO,
    Block,
    Decisions,
    Floats,
    JsonText,
    MixedBox,
    Parameter,
    PlainSpace,
    Shares,
    WordedBox,
    blocks,
    rounded,
    space_from_plain,
    space_to_plain,
)
from kdgym.spaces.dials import Dial, Dials

for _space in (JsonText, MixedBox, PlainSpace, Shares, WordedBox, Dial, Dials):
    _space.__module__ = __name__  # plain data of spaces, and cards of boards, name this module

__all__ = [
    "RATIO",
    "Block",
    "Decisions",
    "Dial",
    "Dials",
    "Floats",
    "JsonText",
    "MixedBox",
    "Parameter",
    "PlainSpace",
    "Shares",
    "WordedBox",
    "blocks",
    "rounded",
    "space_from_plain",
    "space_to_plain",
]
