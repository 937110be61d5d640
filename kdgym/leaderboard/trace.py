"""What a teacher did, in kilobytes: the actions of an episode, rounded so that what is written down is what was done."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from pydantic import BaseModel, ConfigDict, Field

_LEVELS = 127  # steps from 0 to 1
_LARGEST = 64 * 1024**2  # bytes of a trace, unpacked
LONGEST = 10_000  # steps
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')


class Trace(BaseModel):
    """The actions of a population's episode.

    Attributes:
        kind: ``"box"``: whole numbers, 127 of which are 1; ``"choices"``: whole numbers; ``"text"``: JSON.
        steps, students, width: of the array of numbers [steps, S, width]; width is 0 of text.
        data: deflated and in base64.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: Literal["box", "choices", "text"]
    steps: int = Field(ge=0, le=LONGEST)
    students: int = Field(ge=1, le=10_000)
    width: int = Field(ge=0, le=100_000)
    data: str

    def actions(self) -> list[Any]:
        """The actions of each step: arrays [S, width], or lists of S texts.

        Raises:
            ValueError: the data are not what the other fields say.
        """
        said = self.steps * self.students * self.width  # bytes of numbers
        most = _LARGEST if self.kind == "text" else min(said, _LARGEST)
        try:
            packed, unpacker = base64.b64decode(self.data, validate=True), zlib.decompressobj()
            content = unpacker.decompress(packed, most + 1)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"The trace cannot be unpacked ({error}).") from error
        if len(content) > most:
            raise ValueError(f"The trace is longer than {most} bytes.")
        if not unpacker.eof:
            raise ValueError("The trace is cut short.")
        # A record is no place to keep other things: between characters, behind the stream, or in blocks that hold nothing.
        if (
            base64.b64encode(packed).decode() != self.data
            or unpacker.unused_data
            or len(packed) > 1.1 * len(content) + 100
        ):
            raise ValueError("The trace holds more than actions.")
        if self.kind == "text":
            return self._texts(content)
        if len(content) != said:
            raise ValueError(
                f"The trace has {len(content)} numbers; {self.steps} x {self.students} x {self.width} are said."
            )
        whole = np.frombuffer(content, dtype=np.int8).reshape(self.steps, self.students, self.width)
        return list(whole.astype(np.float32) / _LEVELS if self.kind == "box" else whole.astype(np.int64))

    def _texts(self, content: bytes) -> list[Any]:
        wanted = f"The trace is no list of {self.steps} lists of {self.students} texts"
        # Brackets and commas that are too many for these lists are not read: each empty list takes 56 bytes.
        if len(_STRING.sub(b"", content)) > 8 * (self.steps * (self.students + 1) + 1):
            raise ValueError(f"{wanted}.")
        try:
            texts = json.loads(content.decode())
            right = isinstance(texts, list) and len(texts) == self.steps and all(isinstance(row, list) for row in texts)
            if not right or any(len(row) != self.students or not all(isinstance(t, str) for t in row) for row in texts):
                raise ValueError("other lists")
            "".join(text for row in texts for text in row).encode()  # no half of a surrogate pair
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{wanted} ({error}).") from error
        return list(texts)


def write_trace(actions: list[Any], space: spaces.Space[Any], students: int) -> Trace:
    """Write down what `Rounded` let through; ``space`` is that of one student."""
    kind: Literal["box", "choices", "text"]
    if isinstance(space, spaces.Text):
        kind, width = "text", 0
        content = json.dumps([[str(text) for text in row] for row in actions]).encode()
    else:
        kind, width = ("box" if isinstance(space, spaces.Box) else "choices"), int(np.prod(space.shape or (1,)))
        scaled = np.asarray(actions, dtype=np.float64).reshape(-1, students, width) * (_LEVELS if kind == "box" else 1)
        content = np.rint(scaled).astype(np.int8).tobytes()
    data = base64.b64encode(zlib.compress(content, 9)).decode()
    return Trace(kind=kind, steps=len(actions), students=students, width=width, data=data)


class Rounded:
    """A teacher whose numbers in [-1, 1] are rounded to 127ths; everything else is the teacher's own."""

    def __init__(self, teacher: Any) -> None:
        self.teacher = teacher

    def __getattr__(self, name: str) -> Any:
        return getattr(self.teacher, name)

    def act(self, observation: Any) -> Any:
        """The teacher's actions."""
        action = self.teacher.act(observation)
        if isinstance(action, np.ndarray) and np.issubdtype(action.dtype, np.floating) and np.isfinite(action).all():
            return (np.rint(action * _LEVELS) / _LEVELS).astype(np.float32)
        return action  # text, choices; or what the environment will refuse


class Replay:
    """A teacher who does what was written down."""

    def __init__(self, actions: list[Any]) -> None:
        self._actions = iter(actions)

    def act(self, observation: Any) -> Any:
        """The next actions.

        Raises:
            ValueError: there are no more.
        """
        for action in self._actions:
            return action
        raise ValueError("The trace ends before the episode does.")
