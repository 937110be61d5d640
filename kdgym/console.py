"""What the commands share: the console, the progress bar, and options that mean the same everywhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from kdgym.untrusted import printable

if TYPE_CHECKING:
    from rich.progress import Progress, Task


class PlainConsole(Console):
    """A console on which words stay words: there is no markup, and there are no emoji codes and no escapes for the terminal.

    Args:
        options: of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `rich.console.Console.render`; what cannot be printed becomes a question mark."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = (printable(line, None) for line in segment.text.split("\n"))
                yield Segment("\n".join(lines), segment.style)


console = PlainConsole()

AGENT_HELP = "A name (see kdgym list), a file like mine.py, NAME:FILE for a trained one, or an SB3 zip."
EnvId = Annotated[str, typer.Argument(metavar="ID", help="Environment id, for example kdgym/DataGen-Math-v0.")]
Threads = Annotated[int, typer.Option(help="Torch threads; 0 leaves torch's choice.", min=0)]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all results there, per seed.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=JSON", help="A setting of the environment, e.g. steps=4.")
]
Hyper = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=JSON", help="A hyper-parameter of the teacher, e.g. learning_rate=0.001, gamma=0.9, width=128."
    ),
]
LANGUAGE_MODEL = "Teachers that ask a language model"  # their options stand together
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="Where the language model is: an endpoint (.../v1), or transformers or vllm in process.",
        rich_help_panel=LANGUAGE_MODEL,
    ),
]
Model = Annotated[str | None, typer.Option(help="Name of the language model there.", rich_help_panel=LANGUAGE_MODEL)]


_EVERY = 5.0  # seconds between two lines of progress where there is no terminal; in a long run a twentieth of its time
_shown: list[Progress] = []  # what is on the screen; a bar within it is a line of it


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Description, bar, so many of so many, time spent and time left; without a terminal a line of these now and then.

    Lines go to the standard error, so that results can be piped. Within another bar's time its tasks stand below that one's.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if _shown:
        bar, before = _shown[0], _shown[0].task_ids
        try:
            yield bar
        finally:
            for task in set(bar.task_ids).difference(before):
                bar.remove_task(task)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar, done = Progress(*columns, console=console, disable=not console.is_terminal), threading.Event()
    if bar.disable:
        threading.Thread(target=_print_lines, args=(bar, done), daemon=True).start()
    else:
        bar.start()
    _shown.append(bar)
    try:
        yield bar
    finally:
        _shown.clear()
        done.set()
        if not bar.disable:
            bar.stop()


def counter(bar: Progress, what: str) -> Callable[[int, int], None]:
    """A new task of a bar: call it with how many more are done, and how many there are in all."""
    task = bar.add_task(what, total=None)
    return lambda done, total: bar.update(task, advance=done, total=total)


def _print_lines(bar: Progress, done: threading.Event) -> None:
    begun = time.monotonic()
    while not done.wait(max(_EVERY, (time.monotonic() - begun) / 20)):
        starting = f"starting, {_clock(time.monotonic() - begun)} so far"
        typer.echo("; ".join(map(_line, bar.tasks)) or starting, err=True)


def _line(task: Task) -> str:
    amount = f"{task.completed:.0f}" if task.total is None else f"{task.completed:.0f} of {task.total:.0f}"
    left = f", about {_clock(task.time_remaining)} left" if task.time_remaining else ""
    return f"{printable(task.description)}: {amount}, {_clock(task.elapsed or 0)} so far{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def parse_settings(pairs: list[str] | None, option: str = "--set", **given: Any) -> dict[str, Any]:
    """What an option gives as NAME=JSON, beside what has an option of its own; a value that is no JSON is a text.

    Raises:
        ValueError: there is no ``=``.
    """
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{option} takes NAME=VALUE, for example steps=4; got {pair!r}.")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given


def set_threads(threads: int) -> None:
    """Torch's threads; 0 leaves them as they are."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write the results to a file, where one was asked for, and say where."""
    if path is not None:
        from kdgym.storage import write_atomically  # brings torch

        write_atomically(path, f"{json.dumps(content)}\n".encode())
        console.print(f"Results: {path}")
