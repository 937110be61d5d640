"""What a person did wrong, in a sentence; what is wrong with kdgym itself keeps its traceback."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.text import Text

from kdgym.catalogue import OWN_AGENT
from kdgym.console import PlainConsole
from kdgym.untrusted import printable, redacted

DEBUG = "KDGYM_DEBUG"
# The packages of every extra, as they are imported.
EXTRAS = {
    "envs": ("pettingzoo", "pydantic_monty", "reasoning_gym", "sklearn"),
    "dist": ("lz4", "ormsgpack", "ray", "tree"),
    "leaderboard": ("pyseccomp",),
    "llm": (
        "accelerate",
        "anyio",
        "champ_dataset",
        "gguf",
        "httpx2",
        "math_verify",
        "openai",
        "transformers",
        "xgrammar",
    ),
    "minari": ("h5py", "minari"),
    "mujoco": ("mujoco",),
    "tensorboard": ("tensorboard",),
    "vllm": ("vllm",),
    "data": ("datasets", "datasketch", "math_verify", "pyarrow", "pydantic_monty"),
}


@contextmanager
def one_sentence() -> Iterator[None]:
    """Tell a person what went wrong in a sentence (exit code 2); with ``KDGYM_DEBUG`` set, by the traceback.

    No terminal is too simple: characters that it cannot show become question marks.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not os.environ.get(DEBUG):  # a sentence, without the line of code that warns
        warnings.formatwarning = lambda message, *_, **__: f"Warning: {printable(redacted(message), 2000)}\n"
    try:
        yield
    except Exception as error:
        told = None if os.environ.get(DEBUG) else sentence(error)
        if told is None:
            raise
        console = PlainConsole(stderr=True)
        # Wrapped for a terminal only: what is piped or pasted stays in one line.
        console.print(Text.assemble(("Error:", "bold red"), " ", told), soft_wrap=not console.is_terminal)
        sys.exit(2)


def run_command(command: Callable[..., None]) -> None:
    """A command that is a script of its own."""
    with one_sentence():
        typer.run(command)


def sentence(error: Exception) -> str | None:
    """What to tell a person; None if it is a fault of kdgym, whose traceback is wanted."""
    import gymnasium as gym  # not needed where nothing went wrong

    told = _missing_extra(error) or _own_agent(error)
    if told is None and isinstance(error, ValueError | OSError | ImportError | gym.error.Error):
        told = str(error)
    return None if told is None else redacted(told)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _missing_extra(error: Exception) -> str | None:
    """Of a package that an extra brings, where the error does not name the extra already."""
    from gymnasium.error import DependencyNotInstalled

    if not isinstance(error, ImportError | DependencyNotInstalled):
        return None
    for cause in _causes(error):
        package = (getattr(cause, "name", None) or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages and f"kdgym[{extra}]" not in str(error):
                return f"This needs the package {package}, which is not installed: pip install 'kdgym[{extra}]'."
    return None


def _own_agent(error: Exception) -> str | None:
    """Of what was raised while a person's own agent ran: which one, where, and what."""
    for frame in reversed(list(traceback.walk_tb(error.__traceback__))):
        code, line = frame[0].f_code, frame[1]
        if OWN_AGENT in frame[0].f_globals:
            what = f"{type(error).__name__}: {error}".rstrip(": ").rstrip(".")
            name = frame[0].f_globals[OWN_AGENT]
            return f"The agent {name} failed in line {line} ({code.co_name}): {what}. {DEBUG}=1 shows the traceback."
    return None
