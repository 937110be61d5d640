"""Tensors on disk: one safetensors file with a JSON header, written atomically, checked when read. Never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor


class CorruptFileError(ValueError):
    """A file's content is not what was written."""


def cache_directory() -> Path:
    """Where things built once are kept: ``$KDGYM_CACHE``, or the user's cache directory."""
    return Path(os.environ.get("KDGYM_CACHE") or platformdirs.user_cache_dir("kdgym"))


def _digest(tensors: Mapping[str, Tensor], header: str) -> str:
    total = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(save({"": tensors[name]}))
    return total.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for a file that takes its place in the end, also where its folder is missing.

    A reader sees the old file or the new one, also after a crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield temporary
        with open(temporary, "r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, see `replacing`."""
    with replacing(path) as temporary, open(temporary, "xb") as file:
        file.write(content)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-serialisable header to ``path``, atomically."""
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(header, sort_keys=True)
    write_atomically(path, save(cpu, metadata={"header": text, "sha256": _digest(cpu, text)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: the file is damaged, or is not one of ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is not a readable safetensors file ({error}).") from error
    header = metadata.get("header", "")
    if not header or metadata.get("sha256") != _digest(tensors, header):
        raise CorruptFileError(f"The checksum of {path} does not match its content; the file is damaged.")
    try:
        content = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"The header of {path} is not JSON; kdgym did not write this file.") from error
    if not isinstance(content, dict):
        raise CorruptFileError(f"The header of {path} is no JSON object; kdgym did not write this file.")
    return tensors, content


def load_or_build(
    path: Path,
    header: Mapping[str, Any],
    build: Callable[[], dict[str, Tensor]],
    what: str,
    fits: Callable[[dict[str, Tensor]], bool] = lambda tensors: True,
) -> dict[str, Tensor]:
    """Tensors from a file of the cache, or else from ``build``, which is then written there.

    Processes that want the same file at once build it once. A damaged file, or one of something else, is reported and built
    again; a cache that cannot be written is reported, and what was built is used all the same.

    Args:
        path: the file.
        header: see `save_tensors`.
        build: makes the tensors.
        what: what they are, in the plural, for messages.
        fits: whether a file's tensors are such as ``build`` makes: names, types, shapes, values.
    """

    def read() -> dict[str, Tensor] | None:
        if not path.is_file():
            return None
        try:
            tensors, found = load_tensors(path)
            if found != json.loads(json.dumps(header)) or not fits(tensors):
                raise CorruptFileError(f"{path} holds something else.")
            return tensors
        except CorruptFileError as error:
            warnings.warn(f"{error} The {what} are built again.", RuntimeWarning, stacklevel=4)
            return None

    tensors = read()
    if tensors is not None:
        return tensors
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            tensors = read()  # another process may have built them while this one waited
            if tensors is None:
                tensors = build()
                save_tensors(path, tensors, header)
    except OSError as error:
        warnings.warn(
            f"The cache {path.parent} cannot be written ({error}), so the {what} are built anew in every process. "
            "Set KDGYM_CACHE to a directory you can write to.",
            RuntimeWarning,
            stacklevel=3,
        )
    return build() if tensors is None else tensors
