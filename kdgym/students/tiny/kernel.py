"""The fast path on a CPU: ``kernel.c``, compiled once for a network's sizes, and called on many students.

The compiled library lies in the user's cache under a name that depends on the source, the sizes, the compiler and the
processor, with its checksum beside it. It gets there after a trial in a process of its own
(`kdgym.students.tiny.kernel_trial`), so a library that crashes does not end the user's process. Compiling takes three
seconds, loading ten milliseconds. `torch.utils.cpp_extension.load` loads as fast, but takes 0.1 s to import, wants Ninja and
setuptools at run time, and compiles nothing anew for another processor. cffi compiles anew in every process.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from kdgym import random
from kdgym.storage import cache_directory, write_atomically
from kdgym.students.base import Batch, Tables
from kdgym.students.tiny.network import Network, NetworkShape

_SOURCES = [Path(__file__).with_name(name) for name in ("kernel.c", "layers.h", "linear_algebra.h")]
_TRIAL = Path(__file__).with_name("kernel_trial.py")
_FUNCTIONS = ("workspace", "train", "evaluate", "sample", "gradient", "decode")
_PATIENCE = 120.0  # seconds, for a compiler that takes three, and for another process that is compiling
_WIDEST = 16  # floats of the widest vector; matrices have rows of whole vectors
_SUMS = 1e-3  # from 1, what a soft target may sum to
_OPTIONS = ["-std=gnu11", "-O3", "-funroll-loops", "-fPIC", "-shared"]
# Sums in any order, but NaN stays NaN: a student that diverged must not look like one that did not.
_OPTIONS += ["-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"]


class KernelUnavailableError(RuntimeError):
    """The kernel cannot be had on this machine or for these sizes; the message says why and what helps."""


class CompilationError(KernelUnavailableError):
    """There is a compiler, and it failed, or made a library that does not work: perhaps in this process alone."""


class _CTables(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("prompts", "answers", "scene", "scenes")]
    _fields_ += [("scale", ctypes.c_float)]


def _pointers(tables: Tables) -> _CTables:
    """The C structure of the same name; valid while the tensors are."""
    tensors = (tables.prompts, tables.answers, tables.scene, tables.scenes)
    return _CTables(*(None if t is None else t.data_ptr() for t in tensors), tables.scale)


def check_batch(batch: Batch, students: int, answer: int, vocabulary: int) -> None:
    """Is this what students can learn? Values are not looked at while a GPU records, as it cannot be asked for them.

    Args:
        batch: see there.
        students: S.
        answer: A.
        vocabulary: V.

    Raises:
        ValueError: a tensor has another shape or type, a weight is negative or no number, or a soft target is no distribution.
    """
    shape = (students, *batch.problem.shape[-1:])
    wanted = {
        "problem": shape,
        "target": shape,
        "count": shape[:1],
        "weight": shape,
        "soft": (*shape, answer, vocabulary),
    }
    for name, size in wanted.items():
        given, kind = getattr(batch, name), "float" if name in {"weight", "soft"} else "int64"
        if given is None and kind == "float":
            continue
        fits = given.is_floating_point() if kind == "float" else given.dtype == torch.int64
        if given.shape != size or not fits:
            raise ValueError(f"The batch's {name} is {given.dtype} {list(given.shape)}; expected {kind} {list(size)}.")
    if (batch.weight is None and batch.soft is None) or (
        batch.count.is_cuda and torch.cuda.is_current_stream_capturing()
    ):
        return
    valid = torch.arange(shape[-1], device=batch.count.device) < batch.count.unsqueeze(1)
    if batch.weight is not None and not ((batch.weight >= 0) & batch.weight.isfinite() | ~valid).all():
        raise ValueError("The batch's weight has negative numbers, infinity or NaN; weights are finite and at least 0.")
    if batch.soft is not None:
        distribution = (batch.soft.amin(-1) >= 0) & ((batch.soft.sum(-1) - 1).abs() <= _SUMS)
        if not (distribution | ~valid.unsqueeze(2)).all():
            raise ValueError("The batch's soft targets are no distributions: every row is at least 0 and sums to 1.")


class Kernel:
    """Training and examination of students whose states are rows of a float32 tensor on the CPU.

    Args:
        shape: sizes of the network.
        batch: sequences of one update.

    Raises:
        KernelUnavailableError: no compiler was found, it failed, or the sizes do not suit the kernel.
    """

    def __init__(self, shape: NetworkShape, batch: int) -> None:
        head = shape.width // shape.heads
        if any(n % _WIDEST for n in (shape.width, shape.width * shape.feed_forward, 2 * head)):
            raise KernelUnavailableError(
                f"The kernel takes a width, a hidden width and twice a head's width that are multiples of {_WIDEST}; "
                f"got {shape.width}, {shape.width * shape.feed_forward} and {2 * head}."
            )
        sizes = {"V": shape.vocabulary, "T": shape.prompt, "A": shape.answer, "D": shape.width, "H": shape.heads}
        sizes |= {"F": shape.width * shape.feed_forward, "LAYERS": shape.layers, "B": batch}
        sizes |= {"PATCHES": shape.patches, "PIXELS": shape.pixels}
        self._library = _library(tuple(f"-D{name}={size}" for name, size in sizes.items()))
        self._work: list[Tensor] = []

    def train(self, state: Tensor, part: int, tables: Tables, batch: Batch, adamw: Tensor) -> Tensor:
        """See `Students.train`.

        Args:
            state: [S, R], changed in place; weights, two moments and the number of updates, ``part`` floats each.
            part: floats between those.
            tables: what the ids stand for.
            batch: the items, checked.
            adamw: learning rate, beta1, beta2, epsilon and weight decay, float32 [5].
        """
        _check_ids(tables, batch.problem, batch.target)
        room, losses = batch.problem.shape[1], torch.zeros(batch.problem.shape)
        problem, target, count = batch.problem.contiguous(), batch.target.contiguous(), batch.count.clamp_max(room)
        targets = [None if given is None else given.float().contiguous() for given in (batch.weight, batch.soft)]
        self._run("kdgym_train", state, part, _pointers(tables), problem, target, count, room, *targets, adamw, losses)
        return losses

    def evaluate(
        self, state: Tensor, tables: Tables, problem: Tensor, solution: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One pass over the problems int64 [S, N] with the answers ``solution`` int64 [S, N].

        Returns:
            Verdicts bool [S, N]; losses [S, N]; at every place of the answer the token that the student finds likeliest after
            the answer's tokens before it, int64 [S, N, A].
        """
        _check_ids(tables, problem, solution)
        problem, solution = problem.contiguous(), solution.contiguous()
        right, losses = torch.empty(problem.shape, dtype=torch.bool), torch.empty(problem.shape)
        tokens = torch.empty(*problem.shape, tables.answers.shape[1], dtype=torch.int64)
        self._run(
            "kdgym_evaluate", state, _pointers(tables), problem, solution, problem.shape[1], right, losses, tokens
        )
        return right, losses, tokens

    def decode(self, state: Tensor, tables: Tables, problem: Tensor, begun: Tensor, known: Tensor) -> Tensor:
        """Greedy answers int64 [S, N, A] that go on after the first ``known`` (int64 [S, N]) tokens of ``begun`` [S, N, A]."""
        _check_ids(tables, problem)
        problem, known = problem.contiguous(), known.contiguous()
        tokens = begun.clone(memory_format=torch.contiguous_format)
        self._run("kdgym_decode", state, _pointers(tables), problem, known, problem.shape[1], tokens)
        return tokens

    def sample(
        self, state: Tensor, tables: Tables, problem: Tensor, chance: Tensor, begun: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answers drawn by random numbers, and the log-probabilities of their tokens: int64 and float32 [S, N, A].

        Args:
            state: [S, R].
            tables: what the ids stand for.
            problem: int64 [S, N].
            chance: random numbers in [0, 1), float64 [S, N, A].
            begun: answers int64 [S, N, A], of which the first ``known``, int64 [S, N], tokens stand.
        """
        _check_ids(tables, problem)
        problem, known, chance = problem.contiguous(), known.contiguous(), chance.double().contiguous()
        tokens, log_p = begun.clone(memory_format=torch.contiguous_format), torch.empty(begun.shape)
        room = problem.shape[1]
        self._run("kdgym_sample", state, _pointers(tables), problem, known, room, chance, tokens, log_p)
        return tokens, log_p

    def log_p(self, state: Tensor, tables: Tables, problem: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities [S, N, A] of answers int64 [S, N, A] to problems int64 [S, N]."""
        everything = torch.full_like(problem, tokens.shape[2])
        return self.sample(state, tables, problem, torch.zeros(tokens.shape), tokens, everything)[1]

    def gradient(
        self, state: Tensor, weights: int, tables: Tables, problem: Tensor, tokens: Tensor, slope: Tensor
    ) -> Tensor:
        """The gradient [S, weights] of a function of those log-probabilities.

        Args:
            state, tables, problem, tokens: as in `log_p`.
            weights: of a student.
            slope: the function's derivatives by the log-probabilities, [S, N, A].
        """
        _check_ids(tables, problem)
        problem, tokens, slope = problem.contiguous(), tokens.contiguous(), slope.contiguous()
        gradient, room = torch.empty(len(state), weights), problem.shape[1]
        self._run("kdgym_gradient", state, _pointers(tables), problem, tokens, room, slope, gradient, weights)
        return gradient

    def _run(self, name: str, state: Tensor, *arguments: Tensor | int | ctypes.Structure | None) -> None:
        """Let torch's number of threads work through the students; each takes the next one that is waiting."""
        students = len(state)
        threads = max(1, min(torch.get_num_threads(), students))
        while len(self._work) < threads:
            self._work.append(torch.zeros(self._library.kdgym_workspace(), dtype=torch.uint8))
        following = torch.zeros(1, dtype=torch.int64)
        everything: list[Any] = [following, students, state, state.stride(0), *arguments]
        raw = [_raw(argument) for argument in everything]
        types = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in everything]
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *types)((name, self._library))
        if threads == 1:
            call(self._work[0].data_ptr(), *raw)
            return
        with ThreadPoolExecutor(threads) as pool:  # of this call alone, so that a forked process finds no dead threads
            list(pool.map(lambda work: call(work.data_ptr(), *raw), self._work[:threads]))


def _raw(argument: Tensor | int | ctypes.Structure | None) -> int | None:
    if isinstance(argument, Tensor):
        return argument.data_ptr()
    return ctypes.addressof(argument) if isinstance(argument, ctypes.Structure) else argument


def _check_ids(tables: Tables, problem: Tensor, answer: Tensor | None = None) -> None:
    """C would read past a table.

    Raises:
        IndexError: there is no such problem or answer.
    """
    for ids, table in ((problem, tables.prompts), (answer, tables.answers)):
        if ids is not None and ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
            raise IndexError(f"Ids from {int(ids.min())} to {int(ids.max())} were given; there are {len(table)} rows.")


@functools.cache
def _library(sizes: tuple[str, ...]) -> ctypes.CDLL:
    compiler = _compiler()
    target = [*_OPTIONS, *_processor(), *sizes]
    identity = "\0".join([*(path.read_text() for path in _SOURCES), *compiler, *target, _predefined(compiler)])
    path = cache_directory() / "kernels" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.so"
    library = _cached(path)
    if library is not None:
        return library
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_PATIENCE):
            library = _cached(path)  # another process may have compiled it while this one waited
            if library is not None:
                return library
            if path.is_file() and _checksum(path).is_file():
                warnings.warn(f"{path} is damaged; it is compiled again.", RuntimeWarning, stacklevel=6)
            return _compile(compiler, target, path)
    except (OSError, CompilationError) as error:  # for this process alone, which shows other causes
        library = _compile_elsewhere(compiler, target, path.name)
        warnings.warn(
            f"The kernel cannot be kept in {path.parent} ({error}), so it is compiled anew in every process. Set "
            "KDGYM_CACHE to a directory you can write to.",
            RuntimeWarning,
            stacklevel=6,
        )
        return library


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _cached(path: Path) -> ctypes.CDLL | None:
    """A library that was tried, or None. Loading a damaged one would end this process by a signal, or change numbers."""
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest().encode() == _checksum(path).read_bytes():
            return _load(path)
    except (OSError, AttributeError):
        pass
    return None


def _load(path: Path) -> ctypes.CDLL:
    """A library; OSError if the system refuses it, AttributeError if it lacks a function."""
    library = ctypes.CDLL(str(path))
    for name in _FUNCTIONS:
        getattr(library, f"kdgym_{name}")
    library.kdgym_workspace.restype = ctypes.c_int64
    return library


def _compile(compiler: list[str], options: list[str], path: Path) -> ctypes.CDLL:
    """Compile, try, and keep under a path.

    Raises:
        CompilationError: the compiler failed, or what it made.
        OSError: the file cannot be written or loaded.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        output = Path(folder) / path.name
        _call([*compiler, *options, str(_SOURCES[0]), "-o", str(output), "-lm"], "C compiler", folder)
        sizes = [option.removeprefix("-D") for option in options if option.startswith("-D")]
        _call([sys.executable, "-I", "-S", str(_TRIAL), str(output), *sizes], "trial of the compiled kernel", folder)
        content = output.read_bytes()
    # The checksum last: a library without one is compiled again, and one with another's is damaged.
    _checksum(path).unlink(missing_ok=True)
    write_atomically(path, content)
    write_atomically(_checksum(path), hashlib.sha256(content).hexdigest().encode())
    return _load(path)


def _compile_elsewhere(compiler: list[str], options: list[str], name: str) -> ctypes.CDLL:
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _compile(compiler, options, Path(folder) / name)
    except OSError as error:
        raise CompilationError(
            f"The kernel can be kept neither in the cache nor in a temporary folder ({error})."
        ) from error


def _compiler() -> list[str]:
    """The C compiler: ``$CC``, or the first of cc, gcc and clang."""
    given = os.environ.get("CC", "").strip()
    try:
        if given:
            return shlex.split(given)
    except ValueError as error:
        raise KernelUnavailableError(
            f"$CC is {given!r}, which is no command ({error}); correct or unset it."
        ) from error
    found = next((path for path in map(shutil.which, ("cc", "gcc", "clang")) if path), None)
    if found is None:
        raise KernelUnavailableError(
            "No C compiler was found (cc, gcc or clang). Install one, for example the package gcc, or name one in $CC."
        )
    return [found]


def _processor() -> list[str]:
    if platform.machine().lower() in ("x86_64", "amd64"):
        return ["-march=native", "-mprefer-vector-width=512"]
    return ["-mcpu=native"]


def _predefined(compiler: list[str]) -> str:
    """What the compiler says of itself and of this processor's instructions."""
    return _call([*compiler, *_processor(), "-dM", "-E", "-x", "c", os.devnull], "C compiler")


@functools.cache
def fingerprint() -> str:
    """Eight hexadecimal digits of what a fixed computation gives here, bit by bit; ``"none"`` where there is no kernel.

    Equal fingerprints mean equal rounding, and so equal students, whatever compiler, processor or source they are due
    to. The computation is an update, an examination, an answer and a gradient of two students.
    """
    shape, batch, items = NetworkShape(vocabulary=17, prompt=7, answer=3), 4, 64
    try:
        kernel = Kernel(shape, batch)
    except KernelUnavailableError:
        return "none"
    weights, key = Network(shape, torch.device("cpu"), torch.float32).weights, torch.arange(2)
    prompts, answers = (
        random.integers(random.fold(torch.arange(8), n), n, shape.vocabulary) for n in (shape.prompt, shape.answer)
    )
    tables, problem = Tables(prompts, answers), random.integers(key, items, len(prompts))
    state = torch.zeros(2, 3 * weights + 1)
    state[:, :weights] = random.uniform(key, weights).float() - 0.5
    adamw = torch.tensor([1e-2, 0.9, 0.99, 1e-8, 0.01])
    lesson = Batch(problem, problem, torch.tensor([items, items // 2]))
    outputs = [kernel.train(state, weights, tables, lesson, adamw), state]
    outputs += kernel.evaluate(state, tables, problem, problem)
    begun = torch.zeros(2, items, shape.answer, dtype=torch.int64)
    tokens = kernel.decode(state, tables, problem, begun, known=torch.zeros_like(problem))
    log_p = kernel.log_p(state, tables, problem, tokens)
    outputs += [tokens, log_p, kernel.gradient(state, weights, tables, problem, tokens, log_p)]
    return hashlib.sha256(b"".join(output.numpy().tobytes() for output in outputs)).hexdigest()[:8]


def _call(command: list[str], what: str, folder: str | None = None) -> str:
    """What a command prints. It gets `_PATIENCE`, keeps temporary files in ``folder``, and leaves no process behind.

    Raises:
        CompilationError: it failed, or did not end.
        KernelUnavailableError: it cannot be run.
    """
    environment = os.environ if folder is None else {**os.environ, "TMPDIR": folder}
    none, pipe = subprocess.DEVNULL, subprocess.PIPE
    try:
        process = subprocess.Popen(
            command, stdin=none, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
        )
    except FileNotFoundError as error:
        raise KernelUnavailableError(f"The {what} {command[0]!r} does not exist; correct $CC.") from error
    except OSError as error:
        raise KernelUnavailableError(f"The {what} {command[0]!r} cannot be run ({error}); correct $CC.") from error
    with process:
        try:
            output, words = process.communicate(timeout=_PATIENCE)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            said = f"The {what} did not end within {_PATIENCE:g} s: {shlex.join(command)}"
            raise CompilationError(said) from error
    if process.returncode:
        raise CompilationError(
            f"The {what} failed ({process.returncode}): {shlex.join(command)}\n{words.decode(errors='replace').strip()}"
        )
    return output.decode(errors="replace")
