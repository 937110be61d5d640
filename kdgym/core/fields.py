"""The state of a population as a value: named fields, one row a student, packed into one tensor per dtype."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


class Fields(dict[str, Tensor]):
    """Named arrays [S, ...] that share one buffer [S, n] per dtype.

    Copying a student, all its history included, is copying one row of two or three buffers, whatever the family keeps.

    Args:
        size: number of students S.
        layout: name -> (shape of one student's entry, dtype); a view of each is read with ``fields[name]``.
        device: where the buffers live.
    """

    def __init__(self, size: int, layout: Layout, device: torch.device) -> None:
        self.layout, self.device = dict(layout), device
        offsets: dict[torch.dtype, int] = {}
        places = {}
        for name, (shape, dtype) in layout.items():
            start = offsets.get(dtype, 0)
            offsets[dtype] = start + math.prod(shape)
            places[name] = (dtype, slice(start, offsets[dtype]), shape)
        self.buffers = {dtype: torch.zeros(size, n, dtype=dtype, device=device) for dtype, n in offsets.items()}
        self._places = {name: (list(offsets).index(dtype), part) for name, (dtype, part, _) in places.items()}
        super().__init__(
            {
                name: self.buffers[dtype][:, part].unflatten(1, shape) if shape else self.buffers[dtype][:, part.start]
                for name, (dtype, part, shape) in places.items()
            }
        )

    def __setitem__(self, name: str, value: object) -> None:
        """Refused: a new tensor would no longer be part of the buffer.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"A field is overwritten in place: fields[{name!r}][:] = ...")

    def rows(self, index: Tensor | slice) -> list[Tensor]:
        """Copies of the rows ``index`` of every buffer."""
        return [buffer[index].clone() for buffer in self.buffers.values()]

    def check(self, rows: list[Tensor], limits: Mapping[str, tuple[float, float]]) -> None:
        """Are these rows of such a state?

        Args:
            rows: of every buffer.
            limits: field -> least and largest value; without an entry, whole numbers are not negative.

        Raises:
            ValueError: a buffer is missing, or of another type or width, or a value is out of its limits.
        """
        given, wanted = ([(b.dtype, *b.shape[1:]) for b in found] for found in (rows, self.buffers.values()))
        if given != wanted:
            raise ValueError(
                f"The students given are rows of {given}, those here of {wanted} (type, numbers of a student)."
            )
        for name, (buffer, part) in self._places.items():
            value, default = rows[buffer][:, part], (-torch.inf, torch.inf)
            if not value.is_floating_point():
                default = (0, torch.iinfo(torch.int64).max)
            low, high = limits.get(name, default)
            if value.dtype == torch.bool:
                value, high = value.view(torch.uint8), 1
            wrong = value[(value < low) | (value > high)]
            if len(wrong):
                raise ValueError(f"A student's {name} is {wrong[0].item()}; {low} to {high} are allowed.")

    def put(self, index: Tensor | slice, rows: list[Tensor]) -> None:
        """Overwrite the rows ``index`` of every buffer by rows of any device; those read from a file are on the CPU."""
        for buffer, row in zip(self.buffers.values(), rows, strict=True):
            buffer[index] = row.to(buffer.device)

    def overwrite(self, rows: list[Tensor], names: Iterable[str], source: list[Tensor] | None = None) -> None:
        """Replace some fields of copied rows, in place, by those of other rows, or by zeros."""
        for buffer, part in (self._places[name] for name in names):
            rows[buffer][:, part] = 0 if source is None else source[buffer][:, part]
