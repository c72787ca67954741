"""The loops over batches behind ``evaluate`` and ``predict``."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn._backend import host_empty
from fastnn.callbacks import CallbackList
from fastnn.models.batch_graphs import BatchGraphs
from fastnn.models.batch_replay import BatchReplay
from fastnn.models.progress import Progress
from fastnn.models.sources import ArrayBatches


def run_evaluation(model: Any, source: Any, hooks: CallbackList, verbose: int) -> dict[str, Any]:
    """Loss and metrics over every batch."""
    hooks.call("on_test_begin", {})
    after = hooks.has("on_test_batch_end")
    progress = Progress(verbose, "Evaluate", source.samples)
    total, seen, number = 0.0, 0, 0
    model._reset_metrics()
    try:
        for size, losses in _tests(model, source, hooks):
            for loss in losses:
                total += loss * size
            number += len(losses)
            seen += size * len(losses)
            if after:
                hooks.call("on_test_batch_end", number - 1, {"loss": total / seen, **model._metric_values()})
            if progress.due:
                progress.update(seen, {"loss": total / seen, **model._metric_values()})
    except BaseException:
        progress.abandon()
        raise
    logs = {"loss": total / max(seen, 1) + model._step.penalty(), **model._metric_values()}
    progress.close(seen, logs)
    hooks.call("on_test_end", logs)
    return logs


def _tests(model: Any, source: Any, hooks: CallbackList) -> Iterator[tuple[int, list[float]]]:
    """(batch size, losses of the batches), of many batches at once where nobody wants to see each."""
    before, after = hooks.has("on_test_batch_begin"), hooks.has("on_test_batch_end")
    runner = None
    if isinstance(source, ArrayBatches) and not before and not after:
        runner = model._runner("evaluate")
        if isinstance(runner, (BatchReplay, BatchGraphs)):
            yield from runner.tests(source)
            return
    for number, batch in enumerate(source):
        if before:
            hooks.call("on_test_batch_begin", number, {})
        if runner is None:  # the first batch of a stream may have built the model
            runner = model._runner("evaluate")
        yield len(batch.x), [runner.test(batch)]


def run_prediction(model: Any, source: Any, hooks: CallbackList, verbose: int) -> np.ndarray:
    """Outputs of every batch, one after the other in one array."""
    hooks.call("on_predict_begin", {})
    after = hooks.has("on_predict_batch_end")
    progress = Progress(verbose, "Predict", source.samples)
    # An iterable may yield more samples than it says, or fewer.
    out = host_empty((source.samples, *model.output_shape[1:])) if isinstance(source, ArrayBatches) else None
    parts: list[np.ndarray] = []
    seen = 0
    try:
        for number, part in enumerate(_outputs(model, source, out, hooks)):
            if out is None:
                parts.append(part)
            seen += len(part)
            if after:
                hooks.call("on_predict_batch_end", number, {"outputs": part})
            if progress.due:
                progress.update(seen, {})
    except BaseException:
        progress.abandon()
        raise
    progress.close(seen, {})
    hooks.call("on_predict_end", {})
    return np.concatenate(parts) if out is None else out


def _outputs(model: Any, source: Any, out: np.ndarray | None, hooks: CallbackList) -> Iterator[np.ndarray]:
    """The outputs part by part, in `out` if that is given; of many batches at once where nobody wants to see each."""
    inference = model._inference
    before, after = hooks.has("on_predict_batch_begin"), hooks.has("on_predict_batch_end")
    captured = model._captures("predict", inference.uncaptured)
    if captured and out is not None and not before and not after:
        yield from inference.fill(source, out)
        return
    seen = 0
    for number, batch in enumerate(source):
        if before:
            hooks.call("on_predict_batch_begin", number, {})
        y = inference.outputs(batch.x)
        if out is not None:
            out[seen : seen + len(y)] = y
            y = out[seen : seen + len(y)]
        seen += len(y)
        yield y
