"""Metrics that are means over samples: accuracies and errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import _backend, _check, _targets
from fastnn.metrics.base import Array, Metric


def _rows(y_pred: Array, weights: Array | None) -> tuple[int, Array | None]:
    """How many rows of the last axis there are, and a weight for each: several a sample where it is a sequence."""
    rows = math.prod(y_pred.shape[:-1])
    return rows, _targets.row_weights(weights, rows)


class SparseCategoricalAccuracy(Metric):
    """Share of the samples whose largest output is that of the label (of equal ones the first counts)."""

    default_name = "sparse_categorical_accuracy"
    target_form = "labels"
    needs_probabilities = False

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        rows, weights = _rows(y_pred, weights)
        pred, labels = _targets.matrix(y_pred, rows), y_true.reshape(rows)
        _backend.kernels.sparse_categorical_matches(pred, labels, weights, self.state)


class CategoricalAccuracy(Metric):
    """Share of the samples whose largest output stands where the largest target does."""

    default_name = "categorical_accuracy"
    needs_probabilities = False

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        rows, weights = _rows(y_pred, weights)
        pred, targets = _targets.matrix(y_pred, rows), _targets.matrix(y_true, rows)
        _backend.kernels.categorical_matches(pred, targets, weights, self.state)


class BinaryAccuracy(Metric):
    """Mean over samples and outputs of (p > threshold) == t.

    Args:
        threshold: 0.5 for probabilities; use 0 for logits.
    """

    default_name = "binary_accuracy"

    def __init__(self, name: str | None = None, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = _check.number("binary_accuracy", "threshold", threshold)

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        n = y_pred.shape[0]
        pred, targets = _targets.matrix(y_pred, n), _targets.matrix(y_true, n)
        _backend.kernels.binary_matches(pred, targets, weights, self.threshold, self.state)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class SparseTopKCategoricalAccuracy(Metric):
    """Share of the samples for which fewer than k outputs are larger than that of the label."""

    default_name = "sparse_top_k_categorical_accuracy"
    target_form = "labels"
    needs_probabilities = False

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        self.k = _check.integer(self.default_name, "k", k, minimum=1)

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        rows, weights = _rows(y_pred, weights)
        _backend.kernels.top_k_matches(_targets.matrix(y_pred, rows), y_true.reshape(rows), weights, self.k, self.state)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):
    """SparseTopKCategoricalAccuracy for dense targets: the label is where the largest target stands."""

    default_name = "top_k_categorical_accuracy"

    def prepare_targets(self, y: Any, output_shape: Sequence[int]) -> Array:
        return _targets.dense(self.name, y, output_shape).argmax(axis=-1).astype(np.int32)


class MeanAbsoluteError(Metric):
    """Mean over samples and outputs of |p - t|."""

    default_name = "mean_absolute_error"
    kernel = "absolute_error"

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        n = y_pred.shape[0]
        getattr(_backend.kernels, self.kernel)(
            _targets.matrix(y_pred, n), _targets.matrix(y_true, n), weights, self.state
        )


class MeanSquaredError(MeanAbsoluteError):
    """Mean over samples and outputs of (p - t)^2."""

    default_name = "mean_squared_error"
    kernel = "squared_error"


class RootMeanSquaredError(MeanSquaredError):
    """Square root of the mean over samples and outputs of (p - t)^2, taken over all batches together."""

    default_name = "root_mean_squared_error"

    def result(self) -> float:
        return math.sqrt(super().result())
