"""Training steps and tests of single batches, recorded once and replayed on whatever arrays the next batch lies in.

``CapturedEpochs`` gathers its batches from arrays that stay; here each batch may lie elsewhere: the arrays of a batch
are the ports of a tape. So batches of an iterable are trained on without copying them, and a data set is tested on in
order, many batches in a call.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn._backend import empty, get_num_threads, kernels
from fastnn.models.batches import Batch
from fastnn.models.flat import layout_count
from fastnn.models.pace import LARGEST_CALL, Pace
from fastnn.models.sources import ArrayBatches
from fastnn.models.step import Step

# So many kinds of batches are remembered.
_MOST_TAPES = 64


class BatchTapes:
    """Something done to a batch by kernel calls alone, as tapes: one for each kind of batch (its size, its shapes).

    Args:
        work: does it; False if it stopped on the way.
    """

    def __init__(self, work: Callable[[Batch], bool]):
        self._work = work
        self._tapes: dict[tuple[Any, ...], Any] = {}

    def run(self, data: Batch, size: int, count: int) -> int:
        """Works on the first `count` batches of `size` samples of `data`; returns how many it got to the end of."""
        arrays = _arrays_of(data)
        kind = size, int(layout_count[0]), get_num_threads(), *((a.dtype, a.shape[1:]) for a in arrays), len(arrays)
        tape, done = self._tapes.get(kind), 0
        if tape is None:
            tape = self._record(data.rows(0, size), data.weights is None)
            if tape is None:
                return 0
            if len(self._tapes) == _MOST_TAPES:
                self._tapes.clear()
            self._tapes[kind] = tape
            arrays, done = [a[size:] for a in arrays], 1
        return done + (tape.replay(count - done, *arrays) if count > done else 0)

    def _record(self, batch: Batch, unweighted: bool) -> Any:
        """Works on a batch while a tape records it; None if it stopped."""
        own = []  # memory of its own for each array: the ports are what lies in it
        for array in _arrays_of(batch):
            own.append(empty(array.shape, array.dtype))
            own[-1][...] = array
        count = 1 + len(batch.targets)
        tape = kernels.Tape()
        tape.start()
        try:
            whole = self._work(Batch(own[0], tuple(own[1:count]), None if unweighted else own[count]))
        finally:
            tape.stop()
        for array in own:
            tape.port(array)
        return tape if whole else None


class BatchReplay:
    """A compiled model's training step and test.

    Args:
        step: what ``compile`` made; all of it kernel calls.
        optimizer: its optimizer.
    """

    def __init__(self, step: Step, optimizer: Any):
        self._step, self._optimizer = step, optimizer
        self._slot, self._position = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._losses, self._rates = np.zeros(LARGEST_CALL), np.zeros(1)
        self._training, self._testing = BatchTapes(self._train), BatchTapes(self._test)
        self._pace = Pace()

    def train(self, batch: Batch) -> float:
        """As ``Step.train``: one update. Returns the loss; if it isn't finite, nothing is updated."""
        self._rates[:] = self._optimizer.upcoming_rates(1)
        self._slot[0] = 0
        self._training.run(batch, len(batch.x), 1)
        return float(self._losses[0])

    def _train(self, batch: Batch) -> bool:
        step = self._step
        kernels.clear_loss(step.total)
        step.differentiate(batch)
        kernels.store_loss(step.total, self._losses, self._slot)
        if not kernels.stop_unless_finite(step.total):
            return False
        self._optimizer.scheduled_step(self._rates, self._slot)
        return True

    def tests(self, source: ArrayBatches) -> Iterator[tuple[int, list[float]]]:
        """Tests on every batch of arrays in their order. Yields (batch size, losses of the batches) after each call."""
        begin = 0
        for size, batches in source.sizes():
            for count in self._pace.counts(batches, False):
                losses = self._run_tests(source.data.rows(begin, begin + size * count), size, count)
                begin += size * count
                yield size, losses

    def test(self, batch: Batch) -> float:
        """As ``Step.test``: the loss of a batch without penalties; metrics are updated."""
        return self._run_tests(batch, len(batch.x), 1)[0]

    def _run_tests(self, data: Batch, size: int, count: int) -> list[float]:
        self._slot[0] = 0
        self._testing.run(data, size, count)
        return self._losses[:count].tolist()

    def _test(self, batch: Batch) -> bool:
        step = self._step
        kernels.clear_loss(step.total)
        step.measure(batch)
        kernels.store_loss(step.total, self._losses, self._slot)
        kernels.end_batch(self._position, self._slot)
        return True


def _arrays_of(batch: Batch) -> list[np.ndarray]:
    return [batch.x, *batch.targets, *([] if batch.weights is None else [batch.weights])]
