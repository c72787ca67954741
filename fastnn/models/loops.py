"""The loops over epochs and batches behind ``fit``."""

from math import isfinite
from typing import Any, NoReturn

import numpy as np

from fastnn._backend import kernels, on, to_host
from fastnn.callbacks import CallbackList
from fastnn.models.batches import Batch
from fastnn.models.capture import CapturedEpochs, GraphEpochs, capture
from fastnn.models.evaluation import run_evaluation
from fastnn.models.parallel import ShardedBatches, is_rank_0, parallel_fit, run_parallel_epoch
from fastnn.models.progress import Progress
from fastnn.models.sources import ArrayBatches


def run_fit(model: Any, source: Any, validation: Any, hooks: CallbackList, epochs: range, validation_freq: int) -> None:
    """Every epoch of ``fit``.

    Args:
        model: compiled; if ``source`` is a stream it may be built by its first batch.
        source, validation: batches; validation may be None.
        hooks: the callbacks.
        epochs: their numbers, from 0.
        validation_freq: validate after epochs whose number, from 1, is a multiple.
    """
    model.stop_training = False
    verbose = hooks.params["verbose"]
    if not is_rank_0():
        verbose = 0
        hooks.callbacks = [callback for callback in hooks.callbacks if not callback.for_rank_0_alone]
    logs: dict[str, Any] = {}
    model._initial_epoch = epochs.start
    hooks.call("on_train_begin", logs)  # first of all: a callback may bring back what an earlier run has saved
    epochs = resumed(model, source, epochs)
    parallel = parallel_fit(model)
    captured = capture(model, source) if epochs and model._step is not None and parallel is None else None
    if parallel is not None and isinstance(source, ArrayBatches):
        source = ShardedBatches(source, parallel.comm)
    for epoch in epochs:
        hooks.call("on_epoch_begin", epoch, {})
        progress = Progress(verbose, f"Epoch {epoch + 1}/{epochs.stop}", source.samples)
        try:
            if parallel is not None:
                logs, seen = run_parallel_epoch(model, parallel, source, hooks, epoch, progress)
            elif captured is not None:
                logs, seen = run_captured_epoch(model, captured, hooks, epoch, progress)
            else:
                logs, seen = run_epoch(model, source, hooks, epoch, progress)
            progress.stop()
            if validation is not None and (epoch + 1) % validation_freq == 0:
                values = run_evaluation(model, validation, hooks, 0)
                logs.update({f"val_{name}": value for name, value in values.items()})
        except BaseException:
            progress.abandon()
            raise
        progress.close(seen, logs)
        hooks.call("on_epoch_end", epoch, logs)
        if parallel is not None:
            model.stop_training = parallel.any_stops(model.stop_training)
        if model.stop_training:
            break
    hooks.call("on_train_end", logs)


def resumed(model: Any, source: Any, epochs: range) -> range:
    """The epochs that are left if a callback has set ``model._initial_epoch``; the data goes on there, too."""
    first = max(model._initial_epoch, epochs.start)
    if first > epochs.start:
        source.skip_epochs(first - epochs.start)
    return range(first, max(epochs.stop, first))


def run_epoch(
    model: Any, source: Any, hooks: CallbackList, epoch: int, progress: Progress
) -> tuple[dict[str, Any], int]:
    """One epoch: (loss and metrics, number of samples)."""
    model._reset_metrics()
    before, after = hooks.has("on_train_batch_begin"), hooks.has("on_train_batch_end")
    total, seen, number = 0.0, 0, 0
    train = None
    for batch in source:
        if train is None:  # the first batch of a stream may have built the model
            model._reset_metrics()
            train = model._runner("fit").train
        if before:
            hooks.call("on_train_batch_begin", number, {})
        loss = train(batch)
        size = batch.x.shape[0]
        total += loss * size
        seen += size
        if not isfinite(loss) and not any(c.handles_nonfinite_loss for c in hooks.callbacks):
            raise_nonfinite("fit", loss, f"epoch {epoch + 1}, batch {number}", batch)
        if after:
            hooks.call("on_train_batch_end", number, {"loss": total / seen, **model._metric_values()})
            if model.stop_training:
                break
        number += 1
        if progress.due:
            progress.update(seen, {"loss": total / seen, **model._metric_values()})
    return {"loss": total / max(seen, 1), **model._metric_values()}, seen


def run_captured_epoch(
    model: Any, captured: CapturedEpochs | GraphEpochs, hooks: CallbackList, epoch: int, progress: Progress
) -> tuple[dict[str, Any], int]:
    """The same by replay: Python sees the batches in groups, or one by one if a callback wants that."""
    model._reset_metrics()
    before, after = hooks.has("on_train_batch_begin"), hooks.has("on_train_batch_end")
    total, seen, number = 0.0, 0, 0
    if before:
        hooks.call("on_train_batch_begin", 0, {})
    for size, losses in captured.calls(one_by_one=before or after):
        for loss in losses:
            total += loss * size
        number += len(losses)
        seen += size * len(losses)
        if not isfinite(losses[-1]) and not any(c.handles_nonfinite_loss for c in hooks.callbacks):
            where = f"epoch {epoch + 1}, batch {number - 1}"
            raise_nonfinite("fit", losses[-1], where, captured.current_batch(size))
        if after:
            hooks.call("on_train_batch_end", number - 1, {"loss": total / seen, **model._metric_values()})
            if model.stop_training:
                break
        if before and seen < (progress.samples or 0):
            hooks.call("on_train_batch_begin", number, {})
        if progress.due:
            progress.update(seen, {"loss": total / seen, **model._metric_values()})
    return {"loss": total / max(seen, 1), **model._metric_values()}, seen


def raise_nonfinite(function: str, loss: float, where: str, batch: Batch) -> NoReturn:
    """The error of a loss that is NaN or infinite; says so if the cause is in the batch."""
    x = to_host(batch.x)
    with on("cpu"):
        flat = kernels.first_nonfinite(x) if x.dtype == np.float32 else -1
    index = tuple(int(i) for i in np.unravel_index(max(flat, 0), x.shape))
    cause = f"x[{', '.join(map(str, index))}] of the batch is {x[index]}" if flat >= 0 else "x of the batch is finite"
    raise FloatingPointError(
        f"{function}: loss must be finite, got {loss} at {where} ({cause}). The weights are those before this batch. "
        "Lower the learning rate, clip gradients (optimizers take global_clipnorm=1.0) or look for NaN and huge values "
        "in the data."
    )
