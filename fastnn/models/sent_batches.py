"""Batches of an iterable, sent to the GPU while it works on the batch before."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn import _devices
from fastnn._backend import lies_on_gpu, on
from fastnn.models.batches import Batch


class SentBatches:
    """The batches of a source on the CPU as batches on the GPU that the thread is on.

    The next batch is copied on a stream of its own, from pinned memory, which the GPU reads by itself, so that Python
    makes the batch after that meanwhile. Two batches lie on the GPU in turn.

    Args:
        source: yields a ``Batch`` of NumPy arrays, x perhaps on the GPU already.
    """

    def __init__(self, source: Any):
        self.source, self.samples, self.steps = source, source.samples, source.steps

    def skip_epochs(self, count: int) -> None:
        """As the source does."""
        self.source.skip_epochs(count)

    def __iter__(self) -> Iterator[Batch]:
        gpu = _devices.current()
        assert gpu is not None
        stream = gpu.xp.cuda.Stream(non_blocking=True)
        places = [_Place(gpu, stream), _Place(gpu, stream)]
        batches = iter(self.source)
        number, ahead = 0, _next(batches)
        if ahead is not None:
            places[0].send(ahead)
        while ahead is not None:
            place = places[number % 2]
            ahead = _next(batches)
            if ahead is not None:
                places[(number + 1) % 2].send(ahead)
            yield place.receive()
            place.used()
            number += 1


def _next(batches: Iterator[Batch]) -> Batch | None:
    with on("cpu"):  # a loader works with NumPy
        return next(batches, None)


class _Place:
    """Where a batch lies on the GPU, and the pinned memory that it's sent from."""

    def __init__(self, gpu: _devices.Gpu, stream: Any):
        self._gpu, self._stream = gpu, stream
        self._sent, self._free = gpu.xp.cuda.Event(), gpu.xp.cuda.Event()
        self._made = gpu.xp.cuda.Event()
        self._given: list[Any] = []  # whether it lies on the GPU, shape and dtype of each array
        self._pairs: list[tuple[np.ndarray | None, Any]] = []
        self._batch: Any = None

    def send(self, batch: Batch) -> None:
        """Begins to copy."""
        self._sent.synchronize()  # the pinned memory is read no more
        arrays = [batch.x, *batch.targets, *([] if batch.weights is None else [batch.weights])]
        given = [(lies_on_gpu(a), a.shape, a.dtype) for a in arrays]
        if given != self._given:
            self._given = given
            self._pairs = [(self._pinned(a), self._gpu.xp.empty(a.shape, a.dtype)) for a in arrays]
        if lies_on_gpu(batch.x):
            self._made.record(self._gpu.stream)  # on which the iterable has made it
            self._stream.wait_event(self._made)
        self._stream.wait_event(self._free)  # what the GPU did with the batch before is done
        for array, (pinned, place) in zip(arrays, self._pairs):
            if pinned is None:
                with self._stream:
                    place[...] = array
                continue
            pinned[...] = array
            place.set(pinned, stream=self._stream)
        self._sent.record(self._stream)
        places = [place for _, place in self._pairs]
        count = 1 + len(batch.targets)
        self._batch = Batch(places[0], tuple(places[1:count]), None if batch.weights is None else places[count])

    def _pinned(self, like: Any) -> np.ndarray | None:
        if lies_on_gpu(like):
            return None
        memory = self._gpu.xp.cuda.alloc_pinned_memory(max(like.nbytes, 1))
        return np.frombuffer(memory, like.dtype, like.size).reshape(like.shape)

    def receive(self) -> Batch:
        """The batch; what is enqueued from now on finds it there."""
        self._gpu.stream.wait_event(self._sent)
        return self._batch

    def used(self) -> None:
        """What reads the batch is enqueued."""
        self._free.record(self._gpu.stream)
