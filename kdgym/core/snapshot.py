"""Everything a student's future depends on, as a value that can be kept, compared, saved and sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdgym.storage import CorruptFileError, load_tensors, save_tensors


@dataclass(frozen=True)
class StudentSnapshot:
    """The state of one or more students at one moment.

    Attributes:
        settings: the settings of the environment they belong to; `restore` refuses others.
        rows: one tensor [students, n] per dtype.
    """

    settings: dict[str, Any]
    rows: list[Tensor]
    _taken: list[tuple[int, int]] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def taken(cls, settings: dict[str, Any], rows: list[Tensor]) -> StudentSnapshot:
        """Of students of a population, who need no check when they are put back; see `untouched`."""
        return cls(settings, rows, _versions(rows))

    @property
    def untouched(self) -> bool:
        """Whether these are the very tensors that were `taken`, unchanged since."""
        return bool(self._taken) and self._taken == _versions(self.rows)

    def require(self, settings: dict[str, Any], students: int) -> None:
        """Refuse environments this snapshot does not fit.

        Raises:
            ValueError: it was taken under other settings, or holds another number of students.
        """
        if self.settings is not settings and self.settings != settings:
            names = {*settings, *self.settings}
            other = {k for k in names if k not in self.settings or self.settings[k] != settings.get(k)}
            raise ValueError(f"The snapshot belongs to an environment with other settings: {sorted(other)} differ.")
        held = sorted({len(row) for row in self.rows}) or [0]
        if held != [students]:
            raise ValueError(
                f"The snapshot holds {', '.join(map(str, held))} students, and {students} are to be restored; "
                "the numbers must agree."
            )

    def packed(self) -> Tensor:
        """All numbers of every student as bytes, uint8 [students, n]: one row each, to be kept in a table."""
        return torch.cat([row.cpu().contiguous().view(torch.uint8) for row in self.rows], dim=1)

    def unpacked(self, packed: Tensor) -> StudentSnapshot:
        """The snapshot that was `packed`, uint8 [any number, n], of students like these.

        Raises:
            ValueError: rows of these students have another length.
        """
        sizes = [row.shape[1] * row.itemsize for row in self.rows]
        if packed.shape[1] != sum(sizes):
            raise ValueError(f"A student's state here is {sum(sizes)} bytes, but {packed.shape[1]} were given.")
        # A copy each, because a view of other numbers must begin at a multiple of their size.
        parts = [part.clone(memory_format=torch.contiguous_format) for part in packed.split(sizes, dim=1)]
        rows = [part.view(row.dtype).to(row.device) for part, row in zip(parts, self.rows, strict=True)]
        return StudentSnapshot(self.settings, rows)

    def save(self, path: str | Path) -> None:
        """Write to one safetensors file, atomically."""
        save_tensors(Path(path), {str(i): row for i, row in enumerate(self.rows)}, {"settings": self.settings})

    @classmethod
    def load(cls, path: str | Path) -> StudentSnapshot:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            CorruptFileError: the file is damaged, or is no snapshot; or a number in it is infinite or NaN.
        """
        tensors, header = load_tensors(Path(path))
        settings, names = header.get("settings"), [str(i) for i in range(len(tensors))]
        if not isinstance(settings, dict) or header.keys() != {"settings"} or tensors.keys() != {*names} or not names:
            raise CorruptFileError(f"{path} is no snapshot: it holds {sorted(header)} and tensors {sorted(tensors)}.")
        rows = [tensors[name] for name in names]
        if any(row.dim() != 2 for row in rows):
            raise CorruptFileError(
                f"{path} is no snapshot: its tensors have {[row.dim() for row in rows]} dimensions, not 2."
            )
        if not all(row.isfinite().all() for row in rows):
            raise CorruptFileError(f"{path} holds numbers that are infinite or NaN, so no student can go on from it.")
        return cls(settings, rows)


def _versions(rows: list[Tensor]) -> list[tuple[int, int]]:
    """Which tensors, and how often each was changed in place."""
    return [(id(row), row._version) for row in rows]
