"""What all metrics share: float64 sums over batches, kept by a kernel, and a result in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastnn import _backend, _check, _targets

Array = np.ndarray


class Metric:
    """Base of all metrics. A metric sums over batches; `result()` is the value so far.

    Attributes:
        name: the key in the history.
        target_form: "labels" (int32[n]) or "dense" (float32 of the output's shape).
        needs_probabilities: False: the predictions may be logits as well, only their order within a row counts.
    """

    default_name: ClassVar[str] = "metric"
    target_form: ClassVar[str] = "dense"
    needs_probabilities: ClassVar[bool] = True

    def __init__(self, name: str | None = None) -> None:
        self.name = name or self.default_name
        self.state = self.make_state()

    def make_state(self) -> Array:
        return np.zeros(2)

    @property
    def sums(self) -> Array:
        """The state, on the CPU."""
        return _backend.to_host(self.state)

    def place(self) -> None:
        """Moves the state to the device that the thread is on."""
        self.state = _backend.to_device(self.sums)

    def reset_state(self) -> None:
        """Forgets all batches."""
        self.state[...] = 0

    def prepare_targets(self, y: Any, output_shape: Sequence[int]) -> Array:
        """Targets in this metric's form, checked; `output_shape` is the model's, without the batch axis."""
        if self.target_form == "labels":
            return _targets.labels(self.name, y, output_shape)
        return _targets.dense(self.name, y, output_shape)

    def update_state(self, y_true: Any, y_pred: Any, weights: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: prepared targets; anything else is prepared first.
            y_pred: predictions (n, ...); a float32 C-contiguous array is used as it is.
            weights: (n,), or None for ones.
        """
        pred = np.ascontiguousarray(y_pred, dtype=np.float32)
        shape = (*pred.shape, 1) if pred.ndim == 1 else pred.shape
        pred = pred.reshape(shape)
        if not self._is_prepared(y_true, pred):
            y_true = self.prepare_targets(y_true, pred.shape[1:])
        if y_true.shape[0] != pred.shape[0]:
            _check.fail(self.name, "y_true", f"as many as the {pred.shape[0]} predictions", y_true.shape[0])
        if weights is not None:
            weights = np.ascontiguousarray(weights, dtype=np.float32)
        self.accumulate(y_true, pred, weights)

    def _is_prepared(self, y_true: Any, pred: Array) -> bool:
        labels = self.target_form == "labels"
        return (
            isinstance(y_true, np.ndarray)
            and y_true.dtype == (np.int32 if labels else np.float32)
            and y_true.shape[1:] == (pred.shape[1:-1] if labels else pred.shape[1:])
            and y_true.flags.c_contiguous
        )

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        """Adds a batch of prepared arrays to the state."""
        raise NotImplementedError

    def result(self) -> Any:
        """The weighted mean over all samples so far, 0 before the first."""
        sums = self.sums
        return float(sums[0] / sums[1]) if sums[1] else 0.0

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Adds a batch and returns the result so far, as in Keras."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"


class Custom(Metric):
    """A metric in Python: function(y_true, y_pred) -> float[n], one value a sample; the result is their weighted mean.

    Targets reach it as the user gave them (as an array); it can't be saved with a model. It works with NumPy's arrays:
    of a model on a GPU targets and outputs are copied to the CPU for each batch.
    """

    native = False

    def __init__(self, function: Callable[[Array, Array], Array], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", "custom"))
        self.function = function

    def prepare_targets(self, y: Any, output_shape: Sequence[int]) -> Array:
        return np.asarray(y)

    def _is_prepared(self, y_true: Any, pred: Array) -> bool:
        return isinstance(y_true, np.ndarray)

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        y_true, y_pred = _backend.to_host(y_true), _backend.to_host(y_pred)
        values = np.asarray(self.function(y_true, y_pred), np.float64)
        if values.shape != y_pred.shape[:1]:
            _check.fail(self.name, "the function's result", f"of shape {y_pred.shape[:1]}", _check.describe(values))
        weights = None if weights is None else _backend.to_host(weights)
        sums = (values.sum(), len(values)) if weights is None else (values @ weights, weights.sum())
        _backend.assign(self.state, self.sums + sums)

    def get_config(self) -> dict[str, Any]:
        given = _check.describe(self.function)
        _check.fail(
            "metrics.serialize", "metric", "one of fastnn.metrics to be saved", given, "Leave it out of compile."
        )
