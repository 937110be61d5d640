"""What prints as tables, and shows itself in a notebook."""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from kdgym.console import PlainConsole

if TYPE_CHECKING:
    from kdgym.evaluation.plots import Picture

_WIDTH = 80  # characters of a line


class Shown(ABC):
    """A result as a person wants it: its text in 80 columns as ``str`` and ``repr``; text and picture in a notebook."""

    @abstractmethod
    def report(self) -> list[Table | str]:
        """The tables, and remarks on them."""

    @abstractmethod
    def plot(self, path: Path | str | None = None) -> Picture:
        """A picture, which a notebook shows.

        Args:
            path: where to write it, too; the ending chooses the format (png, svg, pdf).
        """

    def __repr__(self) -> str:
        console = PlainConsole(width=_WIDTH, file=io.StringIO(), color_system=None, record=True)
        console.print(*self.report(), sep="\n")
        return console.export_text().rstrip()

    def _repr_html_(self) -> str:
        """Text and picture, for a notebook."""
        console = PlainConsole(width=_WIDTH, file=io.StringIO(), record=True)
        console.print(*self.report(), sep="\n")
        text = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        picture = base64.b64encode(self.plot()._repr_png_()).decode()
        return f'{text}<img alt="" style="max-width: 100%" src="data:image/png;base64,{picture}">'
