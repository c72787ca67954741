"""Data-parallel training: what ``fit`` does while several ranks of ``fastnn.distributed`` train one model.

Every rank works on its own batches; gradients are summed over all ranks before each update, weighted by how many
samples each rank had, so that the step is that of all samples together. Ranks may have different numbers of batches:
one that has none left takes part with no samples until all have none.
"""

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import numpy as np

from fastnn import _check, distributed
from fastnn._backend import kernels, to_device, to_host, zeros
from fastnn.callbacks import CallbackList
from fastnn.distributed.sharded import Sharded, part_size
from fastnn.models.batch_graphs import BatchGraphs
from fastnn.models.batch_replay import BatchReplay, BatchTapes
from fastnn.models.batches import Batch
from fastnn.models.progress import Progress
from fastnn.models.sources import ArrayBatches


class ShardedBatches:
    """A rank's share of the batches of arrays: of each epoch's order, which is rank 0's, every world_size-th sample.

    Args:
        source: batches of the whole data set, the same on all ranks.
        comm: the group.
    """

    def __init__(self, source: ArrayBatches, comm: distributed.Communicator):
        self._source, self._comm = source, comm
        self.samples = source.samples

    def __iter__(self) -> Iterator[Batch]:
        order = self._source.new_order()
        self._comm.broadcast(order)
        own = order[self._comm.rank :: self._comm.world_size].copy()
        for begin in range(0, len(own), self._source.batch_size):
            yield self._source.gather(to_device(own[begin : begin + self._source.batch_size]))


class ParallelFit:
    """The steps of a model that several ranks train; all ranks make it at the same time.

    On the CPU the gradients move to memory that the ranks of a host share, so that to sum them copies nothing; on GPUs
    to memory of whole parts, where the optimizer is `Sharded`. All ranks get the parameters and the optimizer's state
    of rank 0.

    Args:
        model: compiled and built, the same on all ranks.
        comm: the group.
    """

    def __init__(self, model: Any, comm: distributed.Communicator):
        self._model, self._step, self._optimizer = model, model._step, model.optimizer
        self._flat, self.comm = model._flat, comm
        self._sums = comm.empty(4, np.float64)
        captures = model.capture and not self._step.uncaptured
        self._gradients: Callable[[Batch], Any] = self._differentiate
        on_cpu = model.device == "cpu"
        if on_cpu or isinstance(self._optimizer, Sharded):
            size = part_size(self._flat.value.size, comm.world_size) * comm.world_size
            self._shared = comm.empty(size) if on_cpu else zeros(size)
            self._flat.move_gradients(self._shared)
            self._optimizer.rebind(self._flat.grad)
            model._replay = (BatchReplay if on_cpu else BatchGraphs)(self._step, self._optimizer)
        if captures and on_cpu:
            tapes = BatchTapes(self._differentiate)
            self._gradients = lambda batch: tapes.run(batch, len(batch.x), 1)
        elif captures:
            self._gradients = BatchGraphs(self._step, self._optimizer).differentiate
        comm.broadcast(self._flat.values)
        if not isinstance(self._optimizer, Sharded):
            for array in self._optimizer.state_arrays().values():
                comm.broadcast(array)

    def train(self, batch: Batch | None, stop: bool) -> tuple[float, int, bool]:
        """One update of all ranks.

        Args:
            batch: this rank's, None if it has none left.
            stop: whether this rank wants to stop after it.

        Returns:
            The loss of all ranks' batches together, how many samples they had (0: no rank had any left, and nothing was
            updated), and whether a rank wants to stop. If the loss isn't finite, nothing is updated.
        """
        comm, grad, sums = self.comm, self._flat.grad, self._sums
        n, loss = (0, 0.0) if batch is None else (len(batch.x), self._run(batch))
        sums[:] = loss * n, n, n * n, stop
        comm.all_reduce(sums)
        total, samples, squares, stops = sums.tolist()
        if not samples:
            return 0.0, 0, stops > 0
        if isfinite(total):
            if squares * comm.world_size == samples * samples:  # all ranks had as many
                self._combine("mean")
            else:
                if batch is None:
                    grad[...] = 0
                else:
                    grad *= n / samples
                self._combine("sum")
            self._optimizer.step()
        return total / samples, int(samples), stops > 0

    def _combine(self, op: str) -> None:
        if isinstance(self._optimizer, Sharded):
            self._optimizer.combine(self._shared, op)
        else:
            self.comm.all_reduce(self._flat.grad, op)

    def _run(self, batch: Batch) -> float:
        self._gradients(batch)
        return float(to_host(self._step.total)[0])

    def _differentiate(self, batch: Batch) -> bool:
        kernels.clear_loss(self._step.total)
        self._step.differentiate(batch)
        return True

    def any_stops(self, stop: bool) -> bool:
        """Whether a rank wants to stop: then all do."""
        self._sums[0] = stop
        self.comm.all_reduce(self._sums[:1], "max")
        return bool(self._sums[0])

    def end_epoch(self) -> None:
        """The metrics of all ranks' samples together, and one set of the parameters that training doesn't update."""
        for metric in self._model.metrics:
            self.comm.all_reduce(metric.state)
        frozen = self._flat.values[self._flat.value.size :]
        if frozen.size:
            self.comm.all_reduce(frozen, "mean")


def is_rank_0() -> bool:
    """Whether this is the process that prints and writes files: rank 0, or the only one."""
    comm = distributed.current()
    return comm is None or comm.rank == 0


def need_one_rank(function: str) -> None:
    """Fails in a group of several ranks: this one alone would go away from the others."""
    comm = distributed.current()
    if comm is not None and comm.world_size > 1:
        _check.fail(
            function, "the group of ranks", "of one rank", f"{comm.world_size}", "Use fit, which all ranks call."
        )


def parallel_fit(model: Any) -> ParallelFit | None:
    """What trains the model on all ranks, None if there is but one."""
    comm = distributed.current()
    if comm is None or comm.world_size == 1:
        return None
    if model._step is None:
        remedy = "Give its first layer an input_shape."
        _check.fail("fit", "the model", "built before several ranks train it", "one without an input shape", remedy)
    return ParallelFit(model, comm)


def run_parallel_epoch(
    model: Any, parallel: ParallelFit, source: Any, hooks: CallbackList, epoch: int, progress: Progress
) -> tuple[dict[str, Any], int]:
    """One epoch on all ranks: (loss and metrics, number of samples), the same on all of them."""
    model._reset_metrics()
    total, seen, number, stop = 0.0, 0, 0, False
    batches = iter(source)
    while True:
        batch = None if stop else next(batches, None)
        if batch is not None:
            hooks.call("on_train_batch_begin", number, {})
        loss, samples, stops = parallel.train(batch, stop)
        if not samples:
            model.stop_training = stops
            break
        total += loss * samples
        seen += samples
        if not isfinite(loss) and not any(callback.handles_nonfinite_loss for callback in hooks.callbacks):
            raise FloatingPointError(
                f"fit: loss must be finite, got {loss} over all ranks at epoch {epoch + 1}, batch {number}. The "
                "weights are those before this batch. Lower the learning rate, clip gradients or look for NaN and huge "
                "values in the data."
            )
        if batch is not None:
            hooks.call("on_train_batch_end", number, {"loss": total / seen, **model._metric_values()})
        stop = stops or model.stop_training
        number += 1
        if progress.due:
            progress.update(seen, {"loss": total / seen, **model._metric_values()})
    parallel.end_epoch()
    return {"loss": total / max(seen, 1), **model._metric_values()}, seen
