"""Make ``garments.npz``: Fashion-MNIST at 14 x 14 pixels and 16 levels of grey, for those who want to check the file.

``python -m kdgym.tasks.images.make_garments FOLDER`` reads the four idx files from FOLDER:
``/usr/share/datasets/fashion-mnist`` of Debian's package dataset-fashion-mnist, or ``FashionMNIST/raw`` of torchvision's. It
takes the first 30,000 of the images to train on and the first 5,000 to test on, leaves out those that look like an earlier one
(the test images come first), and compares the arrays with the ones in the package. Equal arrays may be other bytes on disk
where zlib is another version, so what is compared is their content.

The images: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv:1708.07747, 2017; Zalando SE, MIT licence (``NOTICE`` beside this file).
"""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdgym.storage import write_atomically
from kdgym.tasks.images.corpus import FILE, LEVELS, SIDE, content_hash, pack

_TAKEN = {"t10k": 5_000, "train": 30_000}


def _read(folder: Path, name: str, offset: int) -> npt.NDArray[np.uint8]:
    packed = (folder / f"{name}-ubyte.gz").read_bytes()
    return np.frombuffer(gzip.decompress(packed), np.uint8, offset=offset)


def _shrink(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Means of 2 x 2 pixels, in whole levels: [n, 28 * 28] -> [n, 196]. Sums of whole numbers: the same everywhere."""
    total = images.reshape(-1, SIDE, 2, SIDE, 2).astype(np.int64).sum((2, 4))
    small: npt.NDArray[np.uint8] = ((total * (LEVELS - 1) + 510) // 1020).astype(np.uint8).reshape(-1, SIDE * SIDE)
    return small


def make(folder: Path) -> dict[str, npt.NDArray[np.uint8]]:
    """The arrays of the file: ``train`` and ``test`` [n, 98], two pixels a byte, and what each shows, ``train_labels`` and
    ``test_labels`` [n]."""
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    seen: set[bytes] = set()
    for source, name in (("t10k", "test"), ("train", "train")):
        images = _shrink(_read(folder, f"{source}-images-idx3", 16))[: _TAKEN[source]]
        labels = _read(folder, f"{source}-labels-idx1", 8)[: _TAKEN[source]]
        kept = []
        for i, image in enumerate(images):
            if image.tobytes() not in seen:
                kept.append(i)
                seen.add(image.tobytes())
        arrays |= {name: pack(images[kept]), f"{name}_labels": labels[kept]}
    return arrays


def main() -> None:
    """Compare with the file of the package; write it where it is missing."""
    if len(sys.argv) != 2:
        sys.exit("Give the folder with Fashion-MNIST's four idx files.")
    made = make(Path(sys.argv[1]))
    if not FILE.is_file():
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **made)  # type: ignore[arg-type]  # its stub takes the names for options
        write_atomically(FILE, buffer.getvalue())
    with np.load(FILE, allow_pickle=False) as packaged:
        equal = all(np.array_equal(packaged[name], array) for name, array in made.items())
    said = f"{FILE.name}: {FILE.stat().st_size} bytes, content {content_hash(made)}"
    sys.exit(None if equal else f"{said}, which is NOT what was made")


if __name__ == "__main__":
    main()
