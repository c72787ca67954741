"""The captured forward pass: one tape for each batch size, replayed from the caller's array into a new one.

The first batch of a size runs eagerly while a tape records it; the arithmetic, and so every bit, is the same. The
weights lie where training changes them, so a tape goes on to be right; when they are laid out anew, or layers come or
go, or the number of threads changes, it's recorded again. On a GPU the same holds for the graphs of
``forward_graphs.py``.
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn._backend import empty, get_num_threads, kernels, on, to_device, to_host
from fastnn.models.flat import layout_count
from fastnn.models.forward_graphs import ForwardGraphs
from fastnn.models.pace import Pace
from fastnn.models.sources import ArrayBatches
from fastnn.models.step import is_native

# So many batch sizes are remembered; a tape is a few kilobytes.
_MOST_TAPES = 64


class Inference:
    """The forward pass of a model.

    Args:
        model: built or not.

    Attributes:
        call: a function of one argument: the outputs for it as a new array if it is a float32, C-contiguous batch of a
            recorded size (or an int32 one of valid ids, where the model takes ids), else None.
    """

    def __init__(self, model: Any):
        self._model = model
        self._lock = threading.RLock()
        self._pace = Pace()
        self.forget()

    def __getstate__(self) -> Any:
        return self._model  # a copy of the model records tapes of its own

    def __setstate__(self, model: Any) -> None:
        self.__init__(model)  # type: ignore[misc]

    def forget(self) -> None:
        """Drop every tape."""
        self.call: Any = _no_tape
        self._predictor: Any = None
        self._tapes: dict[int, Any] = {}
        self._graphs = ForwardGraphs(self._model)
        self._recorded: tuple[Any, ...] = ()

    @property
    def uncaptured(self) -> list[str]:
        """The names of layers that compute outside of kernels: a tape would not see it."""
        return [layer.name for layer in self._model.layers if not is_native(type(layer), "forward")]

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Outputs for a batch, float32 [n, *sample_shape], C-contiguous; a new array."""
        if self._model.device != "cpu":
            return self._on_gpu(x)
        y = self.call(x)
        if y is None:
            with self._lock:
                y = self._record(x) if self.can_capture() else self._model.forward(x, False).copy()
        return y

    def _on_gpu(self, x: np.ndarray) -> np.ndarray:
        with self._lock, on(self._model.device, self._model.compute):
            if not self._model.capture or self.uncaptured:
                return to_host(self._model.forward(to_device(x), False))
            return self._current_graphs().batch(x)

    def _current_graphs(self) -> ForwardGraphs:
        """The graphs, captured since what they depend on changed last."""
        if self._recorded != self._now():
            self.forget()
            self._recorded = self._now()
        return self._graphs

    def fill(self, source: ArrayBatches, out: np.ndarray) -> Iterator[np.ndarray]:
        """Outputs for every batch of arrays in their order, into `out`, part by part: many batches in a call."""
        begin = 0
        for size, batches in source.sizes():
            for count in self._pace.counts(batches, False):
                rows = slice(begin, begin + size * count)
                with self._lock:
                    self._fill(source.data.x[rows], out[rows], size, count)
                begin = rows.stop
                yield out[rows]

    def _fill(self, x: Any, out: np.ndarray, size: int, batches: int) -> None:
        if self._model.device != "cpu":
            with on(self._model.device, self._model.compute):
                self._current_graphs().fill(x, out, size)
            return
        tape, done = self._tape(size), 0
        if tape is None:
            out[:size] = self._record(x[:size])
            tape, done = self._tape(size), 1
        if tape is None:  # the model has no kernels
            out[size:] = self._model.forward(x[size:], False)
        elif done < batches:
            tape.replay(batches - done, x[size * done :], out[size * done :])

    def can_capture(self) -> bool:
        """Whether batches are to be replayed by tapes."""
        return self._model.capture and self._model.device == "cpu" and not self.uncaptured

    def _now(self) -> tuple[Any, ...]:
        """What a tape depends on."""
        return int(layout_count[0]), get_num_threads(), *map(id, self._model.layers)

    def _tape(self, size: int) -> Any:
        return self._tapes.get(size) if self._recorded == self._now() else None

    def _record(self, x: np.ndarray) -> np.ndarray:
        """The outputs for a batch, computed eagerly while a tape records."""
        model, now = self._model, self._now()
        if self._recorded != now or len(self._tapes) == _MOST_TAPES:
            self.forget()
            shapes = model.input_shape[1:], model.output_shape[1:]
            limit = model.layers[0].input_limit or 0
            self._predictor = kernels.Predictor(*shapes, model.layers, layout_count, limit)
            self._recorded = now
        self.call = _no_tape  # a replay by another thread would write to the same buffers in between
        own = empty(x.shape, x.dtype)  # memory of its own: the ports are what lies in it
        own[...] = x
        tape = kernels.Tape()
        tape.start()
        try:
            y = model.forward(own, False)
        finally:
            tape.stop()
        outputs = y.copy()
        if not np.may_share_memory(own, y) and tape.port(own) and tape.port(y, written=True):
            self._predictor.add(len(x), tape)
            self._tapes[len(x)] = tape
        if self._tapes:
            self.call = self._predictor.call
        return outputs


def _no_tape(x: Any) -> None:
    """Stands for the function until something is recorded."""
    return None
