"""What an agent's process and the verifier's say to each other: frames of JSON over pipes, of known size. Never pickle."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import numpy as np

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
