"""Handwritten digits and what they look like in a cell of a picture.

The images are scikit-learn's `load_digits`: 1,797 digits of 8 x 8 pixels by 13 writers, the test set of E. Alpaydin and
C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
SIDE = 8  # pixels of a cell and of a digit at full size
SMALL = 6  # of a small digit
INK = 16  # the darkest pixel; paper is 0


@lru_cache(maxsize=1)
def load_images() -> tuple[Ints, Ints]:
    """The images, int64 [1797, 8, 8] of 0 to 16, and the digit each shows."""
    from sklearn.datasets import load_digits

    pixels, digit = load_digits(return_X_y=True)
    return pixels.reshape(-1, SIDE, SIDE).astype(np.int64), digit.astype(np.int64)


def make_stamps(images: Ints) -> Bytes:
    """What each image looks like in a cell, uint8 [images + 1, 5, 64]: full size, then small in each corner.

    The last row is the empty cell, so that a missing image (-1) finds it.
    """
    fine = images.repeat(SMALL, axis=1).repeat(
        SMALL, axis=2
    )  # area averages of SIDE x SIDE pixels of this make a small one
    blocks = fine.reshape(-1, SMALL, SIDE, SMALL, SIDE).sum((2, 4))
    small = (blocks + SIDE * SIDE // 2) // (SIDE * SIDE)
    stamps = np.zeros((len(images) + 1, 5, SIDE, SIDE), dtype=np.uint8)
    stamps[:-1, 0] = images
    free = SIDE - SMALL
    for corner, (top, left) in enumerate(itertools.product((0, free), repeat=2)):
        stamps[:-1, 1 + corner, top : top + SMALL, left : left + SMALL] = small
    return stamps.reshape(len(images) + 1, 5, SIDE * SIDE)
