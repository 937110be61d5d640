"""Real images for students of recipes: garments, and digits as what does not belong.

Garments are Fashion-MNIST at 14 x 14 pixels (`kdgym.tasks.images.make_garments`), ten classes. Digits are scikit-learn's,
brought to the same size. Every image belongs to one *part*, by a hash of its pixels, so that images that look the same are in
one part:

| part | share | for |
|---|---|---|
| bank | 3/12 | models of hidden quality |
| labelled | 2/12 | items with labels |
| pool | 5/12 | items without, or with weak ones |
| validation | 2/12 | rewards |
| test | Fashion-MNIST's own test images | scores |
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]
Part = Literal["bank", "labelled", "pool", "validation", "test", "foreign"]

FILE = Path(__file__).with_name("garments.npz")
SIDE, LEVELS = 14, 16
PIXELS = SIDE * SIDE
CLASSES = (
    "T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_CONTENT = "2cf1b328e8df8e43093ca603bd5376828c6e6fd4005eb6cee4b3ced55ee28ca2"
_SHARES: dict[Part, int] = {"bank": 3, "labelled": 2, "pool": 5, "validation": 2}
_TWELFTHS = [part for part, share in _SHARES.items() for _ in range(share)]


class CorpusError(RuntimeError):
    """The file of images is not the one that belongs to this version."""


@dataclass(frozen=True)
class Corpus:
    """Images and what they show.

    Attributes:
        pixels: uint8 [n, 196], from 0 (black) to 15; a quarter of what floats take, so that caches hold more of them.
        label: int64 [n].
        parts: part -> the images in it, int64.
    """

    pixels: Tensor
    label: Tensor
    parts: Mapping[Part, Tensor]

    def images(self, item: Tensor) -> Tensor:
        """Items int64 [...] as float32 [..., 196], from 0 to 1."""
        rows = self.pixels.index_select(0, item.flatten())  # six times as fast on a CPU as indexing
        return rows.float().div_(LEVELS - 1).view(*item.shape, PIXELS)

    def to(self, device: torch.device) -> Corpus:
        """The same on a device."""
        parts = {part: index.to(device) for part, index in self.parts.items()}
        return Corpus(self.pixels.to(device), self.label.to(device), parts)


def pack(images: Bytes) -> Bytes:
    """Two pixels of 16 levels a byte: [n, 196] -> [n, 98]."""
    packed: Bytes = (images[:, ::2] << 4 | images[:, 1::2]).astype(np.uint8)
    return packed


def _unpack(packed: Bytes) -> Bytes:
    unpacked: Bytes = np.stack([packed >> 4, packed & 15], axis=2, dtype=np.uint8).reshape(len(packed), -1)
    return unpacked


def content_hash(arrays: Mapping[str, Bytes]) -> str:
    """SHA-256 of names and contents."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(name.encode() + str(arrays[name].shape).encode() + arrays[name].tobytes())
    return total.hexdigest()


def _divide(images: Bytes) -> list[Part]:
    return [_TWELFTHS[zlib.crc32(image.tobytes()) % len(_TWELFTHS)] for image in images]


def _corpus(images: Bytes, label: npt.NDArray[np.int64], part: list[Part]) -> Corpus:
    of = np.array(part)
    parts: dict[Part, Tensor] = {p: torch.from_numpy(np.flatnonzero(of == p)) for p in dict.fromkeys(part)}
    return Corpus(torch.from_numpy(images), torch.from_numpy(label), parts)


@lru_cache(maxsize=1)
def garments() -> Corpus:
    """34,987 garments of ten classes, all parts.

    Raises:
        CorpusError: the file is another one.
    """
    with np.load(FILE, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if content_hash(arrays) != _CONTENT:
        raise CorpusError(f"{FILE} is damaged or of another version; install kdgym again.")
    train, test = _unpack(arrays["train"]), _unpack(arrays["test"])
    label = np.concatenate([arrays["train_labels"], arrays["test_labels"]]).astype(np.int64)
    held_out: list[Part] = ["test"] * len(test)
    return _corpus(np.concatenate([train, test]), label, _divide(train) + held_out)


@lru_cache(maxsize=1)
def digits() -> Corpus:
    """1,797 digits, the class each shows, as they look beside garments; no part ``test``."""
    from kdgym.tasks.vqa.handwriting import load_images

    images, label = load_images()
    side = images.shape[1]
    # Area means on the finer grid, in whole numbers, so that the parts are the same everywhere.
    overlap = np.eye(side, dtype=np.int64).repeat(SIDE, axis=1).reshape(side, SIDE, side).sum(2)
    ink = overlap.T @ images @ overlap * (LEVELS - 1)
    small = (ink // (images.max() * side * side)).astype(np.uint8).reshape(-1, PIXELS)
    return _corpus(small, label, _divide(small))


@lru_cache(maxsize=1)
def garments_and_digits() -> Corpus:
    """Garments, and behind them the digits. Parts: those of the garments, and ``foreign``, digits that no model of the bank
    was trained on."""
    own, others = garments(), digits()
    foreign = len(own.label) + others.parts["pool"]
    return Corpus(
        torch.cat([own.pixels, others.pixels]),
        torch.cat([own.label, others.label]),
        {**own.parts, "foreign": foreign},
    )
