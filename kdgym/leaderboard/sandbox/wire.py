"""What an agent's process and the verifier's say to each other: frames of JSON over pipes, of known size. Never pickle.

The verifier takes nothing for granted: a frame is no longer than an answer needs, and an answer is data of the action space's
kind before the environment gets it.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from kdgym.untrusted import printable

HEAD = struct.Struct(">Q")
SHORTEST = 8192  # bytes that any frame may have: an acknowledgement, or why the agent broke down
_LARGEST = 16 * 1024**2  # bytes of the longest answer, so that reading it takes a few seconds at worst
_NUMBER = 32  # bytes of a number in JSON, and of what stands between two
_CHARACTER = 12  # bytes of a character in JSON at most, two escapes
_TYPES = ("float32", "float64", "int32", "int64", "bool")
_DIMENSIONS, _ENTRIES = 8, 2**40


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
        return json.loads(content.decode(), object_hook=_array)
    except RecursionError as error:
        raise ValueError("The frame is nested too deep.") from error


def longest(space: spaces.Space[Any], students: int) -> int:
    """Bytes of a frame that holds actions of so many students; ``space`` is that of one."""
    if isinstance(space, spaces.Text):
        return min(SHORTEST + students * (_CHARACTER * space.max_length + 4), _LARGEST)
    return min(SHORTEST + students * math.prod(space.shape or (1,)) * _NUMBER, _LARGEST)


def checked_answer(answer: Any, space: spaces.Space[Any], students: int) -> list[str] | npt.NDArray[Any]:
    """An answer that is actions of S students, by form; whether they are within the space is for the environment to say.

    Args:
        answer: what `unpack` made.
        space: of one student's actions.
        students: S.

    Returns:
        S texts where the space is of texts; otherwise finite numbers, an array [S, ...].

    Raises:
        ValueError: the answer is something else.
    """
    if isinstance(space, spaces.Text):
        return _checked_texts(answer, space.max_length, students)
    expected = (students, *(space.shape or ()))
    array = answer if isinstance(answer, np.ndarray) else _numbers(answer, expected)
    if array.shape != expected:
        raise ValueError(f"The actions have shape {_said(array.shape)}; {expected} is wanted.")
    if not np.isfinite(array).all():
        raise ValueError("An action is not finite (NaN or inf).")
    return array


def _checked_texts(answer: Any, most: int, students: int) -> list[str]:
    if not isinstance(answer, list) or len(answer) != students:
        raise ValueError(f"The actions are {_kind(answer)}; a list of {students} texts is wanted.")
    for i, text in enumerate(answer):
        if not isinstance(text, str):
            raise ValueError(f"The action of student {i} is {_kind(text)}; a text is wanted.")
        if len(text) > most:
            raise ValueError(f"The action of student {i} has {len(text)} characters; {most} are allowed.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"The action of student {i} is no text: it has half of a surrogate pair.") from error
    return answer


def _numbers(answer: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Lists of lists of numbers, or of arrays, as an array of this shape."""
    level = [answer]
    for depth, size in enumerate(shape):
        for part in level:
            whole = isinstance(part, np.ndarray) and part.shape == shape[depth:]
            if not whole and not (isinstance(part, list) and len(part) == size):
                raise ValueError(
                    f"The actions have {_kind(part)} where {size} entries are wanted; their shape is {shape}."
                )
        level = [entry for part in level if isinstance(part, list) for entry in part]
    for number in level:
        if type(number) not in (int, float) and not (isinstance(number, np.ndarray) and number.ndim == 0):
            raise ValueError(f"Among the actions is {_kind(number)} where a number is wanted.")
        if type(number) is int and not -(2**63) <= number < 2**63:
            raise ValueError("Among the actions is a number that is too large.")
    return np.array(answer)  # of a known shape, and of numbers alone


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{name} of {len(value)}" if isinstance(value, list | str | dict) else name


def _said(value: Any) -> str:
    return printable(value, 80)


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
    """An array that `_plain` wrote; a dict of anything else stays one. Nothing is made before its size is known to be right."""
    if set(value) != {"array", "shape", "type"}:
        return value
    data, shape, kind = value["array"], value["shape"], value["type"]
    if not isinstance(kind, str) or kind not in _TYPES or not _is_shape(shape):
        raise ValueError(f"An array of {_said(kind)} in the shape {_said(shape)} was sent.")
    if not isinstance(data, str):
        raise ValueError(f"An array's content cannot be read: it is {_kind(data)}.")
    try:
        content = base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"An array's content cannot be read ({error}).") from error
    if len(content) != math.prod(shape) * np.dtype(kind).itemsize:
        raise ValueError(f"An array of shape {shape} came with {len(content)} bytes.")
    if kind == "bool":  # whose bytes may be others than 0 and 1
        return np.frombuffer(content, np.uint8).reshape(shape).astype(bool)
    return np.frombuffer(content, kind).reshape(shape).copy()


def _is_shape(shape: Any) -> bool:
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS:
        return False
    if not all(type(n) is int and n >= 0 for n in shape):
        return False
    return bool(math.prod(max(n, 1) for n in shape) < _ENTRIES)  # numpy cannot make others, not even empty ones
