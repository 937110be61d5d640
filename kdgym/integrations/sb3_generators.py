"""The process-wide generators that Stable-Baselines3 draws from, for training that goes on where it was."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def generators() -> dict[str, Tensor]:
    """States of the process-wide generators that SB3 draws from."""
    _, words, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002  # the generator SB3 shuffles with
    numpy_state = np.concatenate([np.asarray(words, dtype=np.float64), [position, has_gauss, gauss]])
    return {"torch_generator": torch.get_rng_state(), "numpy_generator": torch.from_numpy(numpy_state)}


def set_generators(tensors: dict[str, Tensor]) -> None:
    """Put them back to what `generators` returned."""
    torch.set_rng_state(tensors["torch_generator"])
    state = tensors["numpy_generator"].numpy()
    words = state[:-3].astype(np.uint32)
    np.random.set_state(("MT19937", words, int(state[-3]), int(state[-2]), float(state[-1])))  # noqa: NPY002
