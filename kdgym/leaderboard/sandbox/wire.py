"""What an agent's process and the verifier's say to each other: frames of JSON over pipes, of known size. Never pickle."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from kdgym.envs.classroom.bids import Bids
from kdgym.spaces import JsonText, MixedBox, Shares, SnapshotMoves, TreeChoices, TreeMoves, TutoringMoves

LARGEST = 64 * 1024**2  # bytes of a frame
HEAD = struct.Struct(">Q")
_TYPES = ("float32", "float64", "int32", "int64", "bool")


def pack(value: Any) -> bytes:
    """A frame: its length, then JSON."""
    content = json.dumps(_plain(value)).encode()
    return HEAD.pack(len(content)) + content


def unpack(content: bytes) -> Any:
    """What was packed.

    Raises:
        ValueError: the content is not JSON, or an array is not what it says.
    """
    try:
        return json.loads(content, object_hook=_array)
    except RecursionError as error:
        raise ValueError("The frame is nested too deep.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.name in _TYPES:
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": data, "shape": list(value.shape), "type": value.dtype.name}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _array(value: dict[str, Any]) -> Any:
    if set(value) != {"array", "shape", "type"}:
        return value
    shape, kind = value["shape"], value["type"]
    if kind not in _TYPES or not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"An array of {kind!r} in the shape {shape!r} was sent.")
    try:
        content = base64.b64decode(value["array"], validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"An array's content cannot be read ({error}).") from error
    if len(content) != int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize:
        raise ValueError(f"An array of shape {shape} came with {len(content)} bytes.")
    return np.frombuffer(content, dtype=kind).reshape(shape).copy()


# Each space by its class, and the arguments that make another one.
_SPACES: dict[type[Space[Any]], Callable[[Any], dict[str, Any]]] = {
    Shares: lambda s: {"n": s.shape[0], "temperature": s.temperature},
    TreeMoves: lambda s: {"skills": s.skills, "subskills": s.subskills, "largest": s.largest},
    MixedBox: lambda s: {"choices": {name: list(options) for name, options in s.choices.items()}},
    TutoringMoves: lambda s: {"skills": s.skills, "choices": {name: list(o) for name, o in s.answers.choices.items()}},
    Bids: lambda s: {
        "subjects": [list(part) for part in s.subjects],
        "sources": s.sources,
        "temperature": s.temperature,
    },
    SnapshotMoves: lambda s: {"clusters": s.shares.shape[0], "limit": s.limit},
    TreeChoices: lambda s: {"skills": s.skills},
    JsonText: lambda s: {"max_length": s.max_length, "example": s.example},
    spaces.MultiDiscrete: lambda s: {"nvec": s.nvec.tolist()},
    spaces.Box: lambda s: {"low": s.low, "high": s.high, "dtype": s.dtype.name},
    spaces.Dict: lambda s: {"spaces": {name: space_to_plain(inner) for name, inner in s.spaces.items()}},
}


def space_to_plain(space: Space[Any]) -> dict[str, Any]:
    """A space as plain data and arrays, for a frame.

    Raises:
        ValueError: it is of a class that has no such form.
    """
    if type(space) not in _SPACES:
        raise ValueError(f"{type(space).__name__} cannot be sent; known are {', '.join(k.__name__ for k in _SPACES)}.")
    return {"space": type(space).__name__, "arguments": _SPACES[type(space)](space)}


def space_from_plain(plain: dict[str, Any]) -> Space[Any]:
    """The space that `space_to_plain` described."""
    kind = next(kind for kind in _SPACES if kind.__name__ == plain["space"])
    arguments = plain["arguments"]
    if kind is spaces.Dict:
        arguments = {"spaces": {name: space_from_plain(inner) for name, inner in arguments["spaces"].items()}}
    return kind(**arguments)
