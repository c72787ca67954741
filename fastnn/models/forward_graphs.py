"""The forward pass on a GPU as CUDA graphs, one for each shape of batch; what tapes are on the CPU."""

from typing import Any

import numpy as np

from fastnn._backend import assign, empty, to_device, to_host
from fastnn.models.graphs import Graphs

# Inputs and outputs of so many bytes lie on the GPU at once, if more than one batch is asked for.
_PIECE = 64 << 20


class ForwardGraphs:
    """Outputs of a model on a GPU; to be used on its thread's stream.

    A graph reads its batch where it was captured, so each batch is copied there first, and its outputs from where the
    graph leaves them. The CPU waits once for many batches.

    Args:
        model: built; all of its forward pass are kernel calls.
    """

    def __init__(self, model: Any):
        self._model = model
        self._graphs = Graphs()
        self._places: dict[Any, Any] = {}
        self._outputs: dict[Any, Any] = {}

    def batch(self, x: Any) -> np.ndarray:
        """The outputs for one batch, which lies on the CPU or the GPU; a new array."""
        return to_host(self._forward(to_device(x)))

    def fill(self, x: Any, out: np.ndarray, size: int) -> None:
        """The outputs for x in batches of this size into `out`."""
        rows = max(_PIECE // (x[:size].nbytes + out[:size].nbytes), 1) * size
        for begin in range(0, len(x), rows):
            piece = slice(begin, begin + rows)
            there = to_device(x[piece])
            outputs = empty(out[piece].shape)
            for at in range(0, len(there), size):
                assign(outputs[at : at + size], self._forward(there[at : at + size]))
            out[piece] = to_host(outputs)

    def _forward(self, x: Any) -> Any:
        """The outputs, where they lie until the next batch."""
        kind = x.shape, str(x.dtype)
        if kind not in self._places:
            self._places[kind] = empty(x.shape, x.dtype)
        own = self._places[kind]
        assign(own, x)
        self._graphs.run(kind, lambda: self._outputs.__setitem__(kind, self._model.forward(own, False)))
        return self._outputs[kind]
