"""A step as one program: called on the CPU, recorded and replayed on a GPU, with the same outcome."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kdgym.core.recorded_step import Program


def counter(device: str) -> tuple[Program, Tensor]:
    """Adds its argument to a buffer, and returns twice the buffer."""
    total = torch.zeros(3, device=device)

    def add(argument: Tensor) -> Tensor:
        total.add_(argument)
        return 2 * total

    return Program(add, [total]), total


def test_on_the_cpu_the_function_is_called() -> None:
    program, total = counter("cpu")
    assert program(torch.tensor([1.0, 2, 3])).tolist() == [2, 4, 6]
    assert program(torch.tensor([1.0, 1, 1])).tolist() == [4, 6, 8]
    assert total.tolist() == [2, 3, 4]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_recording_changes_nothing_and_every_call_counts_once() -> None:
    program, total = counter("cuda")
    assert program(torch.tensor([1.0, 2, 3], device="cuda")).tolist() == [2, 4, 6]
    assert program(torch.tensor([1.0, 1, 1], device="cuda")).tolist() == [4, 6, 8]
    assert total.tolist() == [2, 3, 4]
