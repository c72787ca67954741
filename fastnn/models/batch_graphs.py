"""Training steps and tests of single batches on a GPU, captured once for each kind of batch and launched as graphs."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn._backend import assign, empty, kernels, to_host, zeros
from fastnn.models.batches import Batch
from fastnn.models.graphs import Graphs, finish_step, until_nonfinite
from fastnn.models.pace import LARGEST_CALL, Pace
from fastnn.models.sources import ArrayBatches
from fastnn.models.step import Step


class BatchGraphs:
    """A compiled model's training step and test; what ``BatchReplay`` is on the CPU.

    A graph reads its batch where it was captured, so each batch is copied there first, within the GPU's memory.

    Args:
        step: what ``compile`` made; all of it kernel calls.
        optimizer: its optimizer.
    """

    def __init__(self, step: Step, optimizer: Any):
        self._step, self._optimizer = step, optimizer
        self._slot, self._position = zeros(1, np.int64), zeros(1, np.int64)
        self._losses, self._rates = zeros(LARGEST_CALL, np.float64), zeros(1, np.float64)
        self._places: dict[Any, Batch] = {}
        self._graphs = Graphs()
        self._pace = Pace()

    def train(self, batch: Batch) -> float:
        """As ``Step.train``: one update. Returns the loss; if it isn't finite, nothing is updated."""
        assign(self._rates, self._optimizer.upcoming_rates(1))
        self._slot[...] = 0
        kind, own = self._placed(batch)
        self._graphs.run(("train", kind), lambda: self._train(own))
        return until_nonfinite([float(to_host(self._step.total)[0])], self._optimizer)[0]

    def _train(self, batch: Batch) -> None:
        self._differentiate(batch)
        finish_step(self._step, self._optimizer, self._rates, self._slot)

    def differentiate(self, batch: Batch) -> None:
        """Gradients, loss and metrics of a batch, as ``Step.differentiate`` leaves them, the loss from 0 on."""
        kind, own = self._placed(batch)
        self._graphs.run(("gradients", kind), lambda: self._differentiate(own))

    def _differentiate(self, batch: Batch) -> None:
        kernels.clear_loss(self._step.total)
        self._step.differentiate(batch)

    def tests(self, source: ArrayBatches) -> Iterator[tuple[int, list[float]]]:
        """Tests on every batch of arrays in their order. Yields (batch size, losses of the batches) after each call."""
        begin = 0
        for size, batches in source.sizes():
            for count in self._pace.counts(batches, False):
                rows = [source.data.rows(at, at + size) for at in range(begin, begin + size * count, size)]
                begin += size * count
                yield size, self._run_tests(rows)

    def test(self, batch: Batch) -> float:
        """As ``Step.test``: the loss of a batch without penalties; metrics are updated."""
        return self._run_tests([batch])[0]

    def _run_tests(self, batches: list[Batch]) -> list[float]:
        self._slot[...] = 0
        for batch in batches:
            kind, own = self._placed(batch)
            self._graphs.run(("test", kind), lambda own=own: self._test(own))  # type: ignore[misc]
        return to_host(self._losses[: len(batches)]).tolist()

    def _test(self, batch: Batch) -> None:
        kernels.clear_loss(self._step.total)
        self._step.measure(batch)
        kernels.store_loss(self._step.total, self._losses, self._slot)
        kernels.end_batch(self._position, self._slot)

    def _placed(self, batch: Batch) -> tuple[Any, Batch]:
        """The batch's kind, and its content where graphs for this kind read it."""
        arrays = _arrays_of(batch)
        kind = (*((a.shape, str(a.dtype)) for a in arrays), batch.weights is None)
        own = self._places.get(kind)
        if own is None:
            copies = [empty(a.shape, a.dtype) for a in arrays]
            count = 1 + len(batch.targets)
            own = Batch(copies[0], tuple(copies[1:count]), None if batch.weights is None else copies[count])
            self._places[kind] = own
        for place, array in zip(_arrays_of(own), arrays):
            assign(place, array)
        return kind, own


def _arrays_of(batch: Batch) -> list[Any]:
    return [batch.x, *batch.targets, *([] if batch.weights is None else [batch.weights])]
