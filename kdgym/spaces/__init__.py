"""Action spaces of teachers, and spaces as plain data."""

from kdgym.spaces.boxes import (
    Decisions,
    Floats,
    JsonText,
    MixedBox,
    PlainSpace,
    Shares,
    WordedBox,
    space_from_plain,
    space_to_plain,
)
from kdgym.spaces.dials import Dial, Dials

__all__ = [
    "Decisions",
    "Dial",
    "Dials",
    "Floats",
    "JsonText",
    "MixedBox",
    "PlainSpace",
    "Shares",
    "WordedBox",
    "space_from_plain",
    "space_to_plain",
]
