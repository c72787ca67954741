"""A training step on a GPU as a CUDA graph: launched as a whole, with no Python between its kernels.

It is what tapes are on the CPU: everything that changes from step to step (which samples, learning rate, step count,
random counters) lies in small arrays on the GPU that the kernels read and move on. But a graph can't stop on the way:
where a loss isn't finite, a flag keeps this update and all later ones from changing anything, until the CPU sees it.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn import _devices
from fastnn._backend import assign, kernels, to_device, to_host, zeros
from fastnn.models.batches import Batch
from fastnn.models.pace import LARGEST_CALL, Pace
from fastnn.models.sources import ArrayBatches
from fastnn.models.step import Step

# So many kinds of batches are remembered.
_MOST_GRAPHS = 64


class Graphs:
    """Work of kernel calls alone: run as it is until it allocates nothing any more, then captured as a graph, which is
    launched from then on."""

    def __init__(self) -> None:
        self._graphs: dict[Any, _devices.Graph] = {}
        self._settled: set[Any] = set()

    def run(self, kind: Any, work: Callable[[], None], count: int = 1) -> None:
        """Does the work so many times, on the GPU that the thread is on.

        Args:
            kind: what the kernels and the addresses of their arrays follow from.
        """
        gpu = _devices.current()
        assert gpu is not None
        while count and kind not in self._settled:
            before = gpu.allocations
            work()
            count -= 1
            if gpu.allocations == before:
                self._settled.add(kind)
        if count and kind not in self._graphs:
            if len(self._graphs) == _MOST_GRAPHS:
                self._graphs.clear()
            self._graphs[kind] = gpu.capture(work)
        for _ in range(count):
            self._graphs[kind].launch()


def finish_step(step: Step, optimizer: Any, rates: Any, slot: Any) -> None:
    """The update that follows ``step.differentiate``; none if the loss isn't finite. Nothing but kernel calls."""
    kernels.note_nonfinite(step.total, optimizer.stop_flag)
    optimizer.begin_step(rates, slot)
    optimizer.common_step()


def until_nonfinite(losses: list[float], optimizer: Any) -> list[float]:
    """The losses up to the first one that isn't finite; the optimizer forgets the steps that changed nothing."""
    for i, loss in enumerate(losses):
        if not np.isfinite(loss):
            optimizer.take_back(len(losses) - i)
            return losses[: i + 1]
    return losses


class GraphEpochs:
    """Trains on arrays that lie on the GPU by graphs, one for each batch size; see ``CapturedEpochs``.

    Args:
        step: of a compiled model.
        optimizer: its optimizer.
        source: the batches.
    """

    def __init__(self, step: Step, optimizer: Any, source: ArrayBatches):
        self._step, self._optimizer, self._source = step, optimizer, source
        self._order = to_device(source.new_order())
        self._fresh = True
        self._position, self._slot = zeros(1, np.int64), zeros(1, np.int64)
        self._losses, self._rates = zeros(LARGEST_CALL, np.float64), zeros(LARGEST_CALL, np.float64)
        self._index = {size: zeros(size, np.int64) for size, _ in source.sizes()}
        self._graphs = Graphs()
        self._pace = Pace()

    def calls(self, one_by_one: bool) -> Iterator[tuple[int, list[float]]]:
        """Trains one epoch; see ``CapturedEpochs.calls``."""
        if not self._fresh:
            assign(self._order, self._source.new_order())
        self._fresh = False
        self._position[...] = 0
        # With skip_nonfinite the flag is the optimizer's, which clears it after each step.
        one_by_one = one_by_one or self._optimizer.skip_nonfinite
        for size, batches in self._source.sizes():
            for count in self._pace.counts(batches, one_by_one):
                losses = self._run(size, count)
                yield size, losses
                if not np.isfinite(losses[-1]):
                    return

    def _run(self, size: int, count: int) -> list[float]:
        """`count` steps of this batch size; their losses."""
        assign(self._rates[:count], self._optimizer.upcoming_rates(count))
        self._slot[...] = 0
        self._graphs.run(size, lambda: self._one_step(size), count)
        return until_nonfinite(to_host(self._losses[:count]).tolist(), self._optimizer)

    def _one_step(self, size: int) -> None:
        step, index = self._step, self._index[size]
        kernels.begin_batch(self._order, self._position, index, self._source.batch_size, step.total)
        step.differentiate(self._source.gather(index))
        kernels.store_loss(step.total, self._losses, self._slot)
        finish_step(step, self._optimizer, self._rates, self._slot)
        kernels.end_batch(self._position, self._slot)

    def current_batch(self, size: int) -> Batch:
        """The last batch that was worked on."""
        return self._source.gather(self._index[size])
