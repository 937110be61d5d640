"""The images that come with the package: their content, and parts that share none."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdgym.tasks.images import CLASSES, PIXELS, CorpusError, corpus, digits, garments


@pytest.mark.parametrize("load", [garments, digits])
def test_no_image_is_in_two_parts(load: Any) -> None:
    images, whose = load(), {}
    for part, index in images.parts.items():
        for pixels in images.pixels[index]:
            assert whose.setdefault(pixels.numpy().tobytes(), part) == part
    assert sum(len(index) for index in images.parts.values()) == len(images.label)


def test_garments_are_all_there() -> None:
    images = garments()
    assert images.pixels.shape == (35_000, PIXELS)
    assert {part: len(index) for part, index in images.parts.items()} == {
        "bank": 7501, "labelled": 5096, "pool": 12463, "validation": 4940, "test": 5000,
    }  # fmt: skip
    assert torch.bincount(images.label).shape == (len(CLASSES),)
    shown = images.images(torch.arange(100).view(2, 50))
    assert shown.shape == (2, 50, PIXELS)
    assert shown.min() == 0
    assert shown.max() == 1


def test_two_pixels_a_byte_come_back() -> None:
    images = np.random.default_rng(0).integers(0, 16, (7, PIXELS)).astype(np.uint8)
    assert np.array_equal(corpus._unpack(corpus.pack(images)), images)


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(corpus.FILE) as file:
        arrays = {name: file[name].copy() for name in file.files}
    arrays["train"][0, 0] ^= 1
    np.savez(tmp_path / "garments.npz", **arrays)
    assert zipfile.is_zipfile(tmp_path / "garments.npz")
    monkeypatch.setattr(corpus, "FILE", tmp_path / "garments.npz")
    with pytest.raises(CorpusError, match="install kdgym again"):
        garments.__wrapped__()
