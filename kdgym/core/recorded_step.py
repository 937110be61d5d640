"""A step as one program of the device: what happens between an action's arrival and its outcome."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor


class Program:
    """A function of one tensor that changes buffers in place and reads nothing back to the host.

    On the CPU it is just called. On a GPU, where thousands of small operations would each wait for the host to launch them,
    it is recorded once as a CUDA graph and replayed.

    Args:
        function: takes a tensor of always the same shape, returns one of always the same shape.
        buffers: everything it changes.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], buffers: Collection[Tensor]) -> None:
        self._function, self._buffers = function, buffers
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, argument: Tensor) -> Tensor:
        """The function's result; on a GPU it is overwritten by the next call."""
        if argument.device.type != "cuda":
            return self._function(argument)
        if self._graph is None:
            self._record(argument)
        self._argument.copy_(argument)
        assert self._graph is not None
        self._graph.replay()
        return self._result

    def _record(self, argument: Tensor) -> None:
        self._argument = argument.clone()
        self._warm_up()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self._function(self._argument)
        self._graph = graph

    def _warm_up(self) -> None:
        """Libraries allocate when first used, which a recording must not do; the buffers are put back afterwards."""
        before = [buffer.clone() for buffer in self._buffers]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._function(self._argument)
        torch.cuda.current_stream().wait_stream(stream)
        for buffer, content in zip(self._buffers, before, strict=True):
            buffer.copy_(content)
