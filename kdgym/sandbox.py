"""Untrusted Python functions, run in workers that can reach nothing and are stopped when they take too much.

The interpreter is Monty: it has no files, network, processes or imports from the machine, and its workers are processes of
their own, so that the worst a program can do is to end its worker. A program is scored by plain data it returns: what
arrives is compared by value and exact type, never by calling anything the program defined.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_monty as monty

INTERPRETER = f"monty {monty.__version__}"
_SCALARS = (int, str, bool, float, type(None))
_DEEPEST = 16  # lists within lists of a result
_ATTEMPTS = 3  # at a program whose worker ends, as perhaps it was killed from outside
_OUTPUT_BYTES = 4096  # a program may print so much
_CALL = "[[v, f'{v!r}'] for x in inputs for v in [f(x)]]"  # syntax alone: no name that a program could have replaced
_POLICY = monty.OSPolicy(
    datetime=datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC),
    sleep="zero",  # otherwise the pool waits ten seconds, outside of every time limit
    random_start={"seed": 0},
)
_first_user: list[int] = []  # process id; Monty's threads, once started, do not survive a fork


@dataclass(frozen=True)
class Failure:
    """Why a program gave no outputs.

    Attributes:
        reason: ``"syntax"``, ``"error"`` (an exception, or no function ``f``), ``"time"``, ``"memory"``, ``"recursion"``,
            ``"result"`` (something else than plain data was returned) or ``"crash"``.
        detail: the interpreter's message, shortened.
    """

    reason: str
    detail: str = ""

    @property
    def repeatable(self) -> bool:
        """Whether the program itself is to blame. The machine's state may cause the other failures."""
        return self.reason not in ("time", "memory", "crash")


def is_plain(value: Any, depth: int = _DEEPEST) -> bool:
    """Whether ``value`` consists of numbers, strings, None, lists and tuples alone, of exactly these types."""
    if type(value) in _SCALARS:
        return True
    return type(value) in (list, tuple) and depth > 0 and all(is_plain(item, depth - 1) for item in value)


class Sandbox:
    """Runs short programs that define a function ``f`` of one argument.

    Workers start with the first call and end with `close`.

    Args:
        seconds: time limit for the program's top level, and another for all calls of ``f`` together.
        memory: bytes a program may hold.
        recursion: how deep calls may nest.

    Raises:
        ValueError: a limit is not positive.
    """

    def __init__(self, seconds: float = 1.0, memory: int = 32 * 1024**2, recursion: int = 100) -> None:
        for name, limit in (("seconds", seconds), ("memory", memory), ("recursion", recursion)):
            if not limit > 0:
                raise ValueError(f"{name} is {limit}; a limit is larger than 0.")
        self._limits = monty.ResourceLimits(
            max_feed_duration_secs=seconds, max_memory=memory, max_recursion_depth=recursion, max_suspensions=1
        )
        self._patience = 2 * seconds + 1  # then the worker is killed from outside
        self._pool: monty.Monty | None = None

    def run(self, programs: Sequence[str], inputs: Sequence[Sequence[Any]]) -> list[list[Any] | Failure]:
        """Call every program's ``f`` on its inputs, each program in a fresh interpreter.

        Args:
            programs: sources that define ``f``.
            inputs: for each program the arguments to call ``f`` on, one after the other; plain data.

        Returns:
            For each program the results of ``f``, or why there are none. Nothing a program does raises here.

        Raises:
            ValueError: there are not as many lists of inputs as programs, or an input is not plain data.
            RuntimeError: this process was forked from one that had already run programs.
        """
        if len(programs) != len(inputs):
            raise ValueError(f"There are {len(programs)} programs and {len(inputs)} lists of inputs; give one to each.")
        for arguments in inputs:
            if not is_plain(list(arguments)):
                raise ValueError(f"The inputs {arguments!r} are not plain data: numbers, strings, None, lists, tuples.")
        return [self._run_one(*pair) for pair in zip(programs, inputs, strict=True)]

    def _run_one(self, program: str, inputs: Sequence[Any]) -> list[Any] | Failure:
        for _ in range(_ATTEMPTS):
            outcome = self._attempt(program, inputs)
            if not (isinstance(outcome, Failure) and outcome.reason == "crash"):
                break
        return outcome

    def _attempt(self, program: str, inputs: Sequence[Any]) -> list[Any] | Failure:
        printed = monty.CollectString(_OUTPUT_BYTES)
        try:
            with self._started().checkout(limits=self._limits, os_policy=_POLICY) as session:
                session.feed_run(program, print_callback=printed)
                results = session.feed_run(_CALL, inputs={"inputs": list(inputs)}, print_callback=printed)
        except monty.MontyError as error:
            return _failure(error)
        except (ValueError, OverflowError, RecursionError) as error:  # a result that cannot be handed over
            return Failure("result", str(error)[:200])
        return _checked(results, len(inputs))

    def _started(self) -> monty.Monty:
        if _first_user and _first_user[0] != os.getpid():
            raise RuntimeError(
                f"Process {os.getpid()} was forked from process {_first_user[0]}, which had already run programs in a sandbox; "
                "a fork cannot use it. Start processes by 'spawn' or 'forkserver', or before the first program is run; "
                "Gymnasium's do with vector_kwargs={'context': 'spawn'}."
            )
        if self._pool is None:
            _first_user[:] = [os.getpid()]
            self._pool = monty.Monty(min_processes=1, max_processes=1, request_timeout=self._patience)
            self._pool.__enter__()
        return self._pool

    def close(self) -> None:
        """End the workers. Another `run` starts new ones."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)
            self._pool = None

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _failure(error: monty.MontyError) -> Failure:
    detail = str(error)[:200]
    if isinstance(error, monty.MontyCrashedError):
        return Failure("time" if error.timed_out else "crash", detail)
    if isinstance(error, monty.MontySyntaxError):
        return Failure("syntax", detail)
    kinds = {"TimeoutError": "time", "MemoryError": "memory", "RecursionError": "recursion"}
    return Failure(kinds.get(type(error.exception()).__name__, "error"), detail)


def _checked(results: Any, expected: int) -> list[Any] | Failure:
    """The values of ``[value, how the interpreter itself writes it]`` pairs.

    What has no counterpart outside, a function for example, arrives as a *string* of its representation; comparing how the
    value is written inside and outside tells it from a real string.
    """
    values = []
    if len(results) != expected:
        return Failure("result", f"{len(results)} results for {expected} inputs")
    for value, written in results:
        if not is_plain(value) or repr(value) != written:
            return Failure("result", f"not plain data: {written[:160]}")
        values.append(value)
    return values
