"""A device called ``far``, for machines without a GPU: its tensors are those of the CPU, and do not mix with them.

As on a GPU, an operation on tensors of both places is an error, unless those of the host are single numbers or indices, and
NumPy sees nothing of a tensor that lies there. Run as a script, this plays lessons (`tests.lessons`) there and on the CPU, and
compares all that is heard, bit for bit:

    python -m tests.far_device "skill list" snapshot ...
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "far"
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Far(Tensor):
    """A tensor of the device; ``near`` is what it consists of."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        layout = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        far: Far = Tensor._make_wrapper_subclass(cls, near.size(), **layout, device=f"{NAME}:0")  # type: ignore[attr-defined]
        far.near = near
        return far

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, *args, **(kwargs or {}))

    # What follows does not come to the dispatcher, or not in a shape that it can handle.

    def tolist(self) -> Any:
        return self.near.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("A tensor of a far device is no NumPy array; copy it to the host by .cpu() first.")

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return torch.tensor(data, dtype=self.dtype, **options).to(self.device)

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_without_lists(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        number = value if isinstance(value, Tensor) else torch.tensor(value, dtype=self.dtype)
        super().__setitem__(_without_lists(index), number)


def _without_lists(index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    fixed = tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts)
    return fixed if isinstance(index, tuple) else fixed[0]


def _near(value: Any) -> Any:
    return value.near if isinstance(value, Far) else value


def _far(value: Any) -> Any:
    return Far(value) if isinstance(value, Tensor) else value


def _run(func: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation on the CPU's tensors, if the device could do it.

    Raises:
        RuntimeError: tensors of the host are mixed in.
    """
    name = func._schema.name
    if name == "aten::copy_":
        _near(args[0]).copy_(_near(args[1]))
        return args[0]
    if name == "aten::_to_copy":
        target = kwargs.pop("device", None) or args[0].device
        copy = func(_near(args[0]), **kwargs, device="cpu")
        return copy if torch.device(target).type == "cpu" else Far(copy)
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    allowed = [id(index) for index in args[1] if index is not None] if name in _INDEXING else []
    mixed = [tuple(t.shape) for t in given if not isinstance(t, Far) and t.dim() and id(t) not in allowed]
    if mixed:
        raise RuntimeError(f"{name} mixes tensors of shapes {mixed} of the host with tensors of the device.")
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    result = tree_map(_far, func(*tree_map(_near, args), **tree_map(_near, kwargs)))
    return return_and_correct_aliasing(func, args, kwargs, result) if func._schema.is_mutable else result


def _made_at_home(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Functions that resize, or copy from Python, make their tensors on the CPU, from where they go to the device."""

    def made(*args: Any, device: Any = None, **options: Any) -> Tensor:
        tensor = make(*args, **options)
        return tensor if device is None else tensor.to(device)

    return made


def register() -> list[torch.library.Library]:
    """Make the device known to this process, for as long as what is returned is kept."""
    _setup_privateuseone_for_python_backend(NAME)
    every, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    every.fallback(_run, "PrivateUse1")
    aten.impl("empty.memory_format", lambda size, dtype=None, **_: Far(torch.empty(size, dtype=dtype)), "PrivateUse1")
    strided: Callable[..., Tensor] = lambda size, stride, dtype=None, **_: Far(  # noqa: E731
        torch.empty_strided(size, stride, dtype=dtype)
    )
    aten.impl("empty_strided", strided, "PrivateUse1")
    torch.tensor, torch.arange = _made_at_home(torch.tensor), _made_at_home(torch.arange)  # type: ignore[assignment]
    return [every, aten]


def main() -> int:
    from tests.lessons import make, play, states

    torch.set_num_threads(1)
    kept, failed = register(), False
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            lessons = [play(make(name, device), Path(folder)) for device in ("cpu", NAME)]
            there = all(isinstance(state, Far) for state in states(make(name, NAME)))
        equal = all(np.array_equal(a, b) for a, b in zip(*lessons, strict=True))
        print(f"{name}: {'equal' if equal and there else 'different'}", flush=True)  # noqa: T201
        failed |= not (equal and there)
    del kept
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
