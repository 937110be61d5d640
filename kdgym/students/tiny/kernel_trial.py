"""The trial of a compiled kernel: a program of its own, which may crash. ``python kernel_trial.py LIBRARY V=16 T=7 ...``

Every function is called on one student and two batches. Losses have to be finite, and equal whichever function gives them.
"""

from __future__ import annotations

import ctypes
import math
import sys
from typing import Any


def main(path: str, *given: str) -> None:
    """Try a library.

    Args:
        path: its file.
        given: the sizes that it was compiled for, see ``kernel.c``.

    Raises:
        OSError: it cannot be loaded.
        AttributeError: it lacks a function.
        ValueError: its numbers are wrong.
    """
    size = {name: int(value) for name, _, value in (pair.partition("=") for pair in given)}
    library, answer, room = ctypes.CDLL(path), size["A"], size["B"] + 1
    library.kdgym_workspace.restype = ctypes.c_int64
    bytes_of_work = library.kdgym_workspace()
    width, rows = size["D"], size["PATCHES"] + size["T"] + answer - 1
    block = 2 * width + 2 * width // size["H"] + 2 * size["F"]
    weights = width * (2 * size["V"] + rows + size["PIXELS"] + size["LAYERS"] * block)
    part = -(-weights // 16) * 16

    def floats(values: list[float]) -> Any:
        return (ctypes.c_float * len(values))(*values)

    def longs(number: int, value: int = 0) -> Any:
        return (ctypes.c_int64 * number)(*[value] * number)

    pattern = floats([(7919 * i % 1009 / 1009 - 0.5) / 5 for i in range(1009)])
    state = (ctypes.c_float * (3 * part + 16))()
    ctypes.memmove(state, bytes(pattern) * (weights // 1009 + 1), 4 * weights)
    prompts, answers, scene = longs(size["T"]), longs(answer), longs(1)
    scenes = (ctypes.c_uint8 * (size["PATCHES"] * size["PIXELS"] + 1))()
    pointers = [ctypes.addressof(table) for table in (prompts, answers, scene, scenes)]
    tables = (ctypes.c_int64 * 5)(*pointers, 0)  # the last is the scale of pixels, a float 0
    problem, tokens, known = longs(room), longs(room * answer), longs(room, answer)
    losses, log_p = ((ctypes.c_float * (room * n))() for n in (1, answer))

    def call(name: str, *arguments: Any) -> None:
        raw = [
            ctypes.c_int64(a) if isinstance(a, int) else ctypes.byref(a) if a is not None else None for a in arguments
        ]
        function = getattr(library, f"kdgym_{name}")
        function.restype = None
        function((ctypes.c_uint8 * bytes_of_work)(), longs(1), ctypes.c_int64(1), ctypes.byref(state), *raw)

    call("evaluate", len(state), tables, problem, problem, room, (ctypes.c_uint8 * room)(), losses, tokens)
    expected = list(losses)
    tokens = longs(room * answer)
    call("sample", len(state), tables, problem, known, room, (ctypes.c_double * len(tokens))(), tokens, log_p)
    call("decode", len(state), tables, problem, longs(room), room, longs(len(tokens)))
    call("gradient", len(state), tables, problem, tokens, room, log_p, (ctypes.c_float * weights)(), weights)
    optimiser = floats([1e-3, 0.9, 0.98, 1e-8, 0.01])
    call("train", len(state), part, tables, problem, problem, longs(1, room), room, None, None, optimiser, losses)
    sampled = -sum(log_p[:answer]) / answer
    for loss in (*expected, losses[0], sampled):
        if not math.isclose(loss, expected[0], rel_tol=1e-3, abs_tol=1e-3):
            raise ValueError(
                f"The compiled kernel gives the losses {expected[0]}, {losses[0]} and {sampled} for one answer."
            )
    if not all(map(math.isfinite, state[:1009])):
        raise ValueError("After training by the compiled kernel, weights are not finite.")


if __name__ == "__main__":
    main(*sys.argv[1:])
