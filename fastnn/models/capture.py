"""The captured training step: one eager step is recorded as a tape of kernel calls, which is then replayed natively.

Everything that changes from step to step (which samples, learning rate, step count, random counters) lies in small
arrays that the recorded kernels read and move on, so a replay of many steps is one call that returns to Python only at
its end. The arithmetic is that of the eager step, kernel by kernel: both give the same bits.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn._backend import get_num_threads, kernels
from fastnn.models.batches import Batch
from fastnn.models.graphs import GraphEpochs
from fastnn.models.pace import LARGEST_CALL, Pace
from fastnn.models.self_updates import SelfUpdates
from fastnn.models.sources import ArrayBatches
from fastnn.models.step import Step


class CapturedEpochs:
    """Trains on arrays by replaying tapes, one for each batch size (the last batch of an epoch is smaller).

    Args:
        step: of a compiled model.
        optimizer: its optimizer.
        source: the batches.
    """

    def __init__(self, step: Step, optimizer: Any, source: ArrayBatches):
        self._step, self._optimizer, self._source = step, optimizer, source
        self._order = source.new_order()
        self._fresh = True
        self._position, self._slot = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._losses, self._rates = np.zeros(LARGEST_CALL), np.zeros(LARGEST_CALL)
        self._index = {size: np.zeros(size, np.int64) for size, _ in source.sizes()}
        self._tapes: dict[int, Any] = {}
        self._updates = SelfUpdates(step, optimizer)
        self._pace = Pace()

    def calls(self, one_by_one: bool) -> Iterator[tuple[int, list[float]]]:
        """Trains one epoch. Yields (batch size, losses of the batches) after each call; a loss that isn't finite is the
        last one, its update isn't applied and the epoch is over.

        Args:
            one_by_one: return after every batch instead of about ten times a second.
        """
        if not self._fresh:
            self._source.new_order()
        self._fresh = False
        self._position[0] = 0
        for size, batches in self._source.sizes():
            for count in self._pace.counts(batches, one_by_one):
                losses = self._run(size, count)
                yield size, losses
                if not np.isfinite(losses[-1]):
                    return

    def _run(self, size: int, count: int) -> list[float]:
        """`count` steps of this batch size; their losses."""
        self._rates[:count] = self._optimizer.upcoming_rates(count)
        self._slot[0] = 0
        tape = self._tapes.get(size)
        done = 0
        if tape is None or tape.threads != get_num_threads():
            done = int(self._record(size))
            if not done:
                return [float(self._losses[0])]
        done += self._tapes[size].replay(count - done)
        return self._losses[: min(done + 1, count)].tolist()

    def _record(self, size: int) -> bool:
        """Runs a step while a tape records it. False if its loss isn't finite."""
        tape = kernels.Tape()
        tape.start()
        try:
            finite = self._one_step(size)
        finally:
            tape.stop()
        if finite:
            self._tapes[size] = tape
        return finite

    def _one_step(self, size: int) -> bool:
        """A step as kernel calls only; what isn't a kernel call here isn't on the tape."""
        step, index = self._step, self._index[size]
        kernels.begin_batch(self._order, self._position, index, self._source.batch_size, step.total)
        with self._updates:
            step.differentiate(self._source.gather(index))
        kernels.store_loss(step.total, self._losses, self._slot)
        if not kernels.stop_unless_finite(step.total):
            return False
        self._optimizer.begin_step(self._rates, self._slot)
        self._updates.run()
        kernels.end_batch(self._position, self._slot)
        return True

    def current_batch(self, size: int) -> Batch:
        """The last batch that was worked on."""
        return self._source.gather(self._index[size])


def capture(model: Any, source: Any) -> CapturedEpochs | GraphEpochs | None:
    """What trains `model` on `source` by replay of many batches at once, or None if that can't be captured."""
    if not isinstance(source, ArrayBatches) or not model._captures("fit", model._step.uncaptured):
        return None
    epochs = CapturedEpochs if model.device == "cpu" else GraphEpochs
    return epochs(model._step, model.optimizer, source)
