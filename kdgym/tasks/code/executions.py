"""What every program does: a table from (program, type of input) to a signature of its outputs, filled by running it.

A program is executed at most once; its signature is kept in the user's cache, which is written every few hundred executions
and when the process ends.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from torch import Tensor

from kdgym.storage import CorruptFileError, cache_directory, load_tensors, save_tensors

if TYPE_CHECKING:
    from kdgym.sandbox import Failure

UNSEEN, FAILED = -2, -1  # in place of a signature
_SAVE_EVERY = 512  # executions; what is lost with a killed process is executed again in a fraction of a second
_log = logging.getLogger(__name__)
_in_use: weakref.WeakSet[Executions] = weakref.WeakSet()


@atexit.register
def _save_all() -> None:
    for executions in list(_in_use):
        executions.save()


def signature(outputs: Sequence[Any] | Failure) -> int:
    """63 bits of a hash of plain outputs; `FAILED` for a failure. `repr` writes different plain values differently."""
    if not isinstance(outputs, Sequence):
        return FAILED
    return int.from_bytes(hashlib.sha256(repr(list(outputs)).encode()).digest()[:8], "big") >> 1


class Executions:
    """Signatures of programs 0 .. ``programs - 1`` on each of several batteries of inputs.

    Args:
        programs: how many programs there are.
        source: the source of a program, given its number.
        batteries: for each type the inputs its programs are tried on.
        recipe: JSON-serialisable description of all this; another recipe is another file.

    Attributes:
        executed: how many programs this object has executed; the others came from the cache.
    """

    def __init__(
        self, programs: int, source: Callable[[int], str], batteries: Sequence[Sequence[Any]], recipe: dict[str, Any]
    ) -> None:
        from kdgym.sandbox import INTERPRETER, Sandbox  # the interpreter is a package of an extra

        self._programs, self._source, self._batteries = programs, source, batteries
        self._sandbox = Sandbox()
        self._recipe = {
            **recipe,
            "inputs": [list(b) for b in batteries],
            "programs": programs,
            "interpreter": INTERPRETER,
        }
        name = hashlib.sha256(json.dumps(self._recipe, sort_keys=True).encode()).hexdigest()[:16]
        self._path = cache_directory() / "programs" / f"{name}.safetensors"
        self._table = torch.full((len(batteries) * programs,), UNSEEN)
        self._unsaved = 0
        self.executed = 0
        self._merge()
        _in_use.add(self)

    def signatures(self, battery: Tensor, program: Tensor) -> Tensor:
        """Signatures of programs, int64 of the shape of both arguments; those not yet seen are executed, and kept."""
        place = battery * self._programs + program
        found = self._table[place]
        new = place[found == UNSEEN].unique()
        if len(new) == 0:
            return found
        self._execute(new)
        return self._table[place].clamp_min(FAILED)

    def try_source(self, source: str, battery: int) -> int:
        """The signature of any source; it is executed every time."""
        return signature(self._sandbox.run([source], [self._batteries[battery]])[0])

    def _execute(self, place: Tensor) -> None:
        sources = [self._source(p) for p in (place % self._programs).tolist()]
        inputs = [self._batteries[b] for b in (place // self._programs).tolist()]
        outcomes = self._sandbox.run(sources, inputs)
        # What the machine's state may have caused is a failure now and tried again the next time, never kept.
        stopped = [not isinstance(o, Sequence) and not o.repeatable for o in outcomes]
        if any(stopped):
            program, outcome = next((s, o) for s, o, stop in zip(sources, outcomes, stopped, strict=True) if stop)
            warnings.warn(
                f"{sum(stopped)} of {len(sources)} programs were stopped and count as wrong this time, which another run may "
                f"judge otherwise; the first ({outcome}):\n{program}Is the machine overloaded, or out of memory?",
                RuntimeWarning,
                stacklevel=4,
            )
        self._table[place] = torch.tensor(
            [UNSEEN if s else signature(o) for s, o in zip(stopped, outcomes, strict=True)]
        )
        self.executed += len(place)
        self._unsaved += len(place)
        if self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Add what was executed here to the cache, beside what other processes have added."""
        if not self._unsaved:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self._path.with_suffix(".lock")):
                self._merge()
                seen = (self._table != UNSEEN).nonzero().squeeze(1)
                save_tensors(self._path, {"place": seen, "signature": self._table[seen]}, self._recipe)
        except OSError as error:
            warnings.warn(
                f"The cache {self._path.parent} cannot be written ({error}), so programs are executed anew in every process. "
                "Set KDGYM_CACHE to a directory you can write to.",
                RuntimeWarning,
                stacklevel=4,
            )
        _log.info("executed %d programs", self._unsaved)
        self._unsaved = 0

    def _merge(self) -> None:
        """Take over what the file has; a damaged one is reported and will be replaced."""
        if not self._path.is_file():
            return
        try:
            tensors, _ = load_tensors(self._path)
        except CorruptFileError as error:
            warnings.warn(f"{error} Its programs are executed again.", RuntimeWarning, stacklevel=4)
            return
        self._table[tensors["place"]] = tensors["signature"]
