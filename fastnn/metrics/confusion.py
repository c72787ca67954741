"""Metrics from counts of true and false positives and negatives at thresholds: precision, recall, AUC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import _backend, _check, _targets
from fastnn.metrics.base import Array, Metric


def _divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator != 0)


class _Confusion(Metric):
    """Counts tp, fp, tn, fn for ascending thresholds; an output is positive where p > threshold, a target where t != 0.

    All outputs of a sample count alike; class indices are taken as one-hot targets.
    """

    thresholds: Array

    def make_state(self) -> Array:
        self._steps = self.thresholds
        return np.zeros((4, len(self.thresholds)))

    def place(self) -> None:
        super().place()
        self._steps = _backend.to_device(self.thresholds)

    def prepare_targets(self, y: Any, output_shape: Sequence[int]) -> Array:
        array = np.asarray(y)
        if output_shape[-1] > 1 and array.ndim == len(output_shape):
            return _targets.one_hot(_targets.labels(self.name, y, output_shape), output_shape[-1])
        return _targets.dense(self.name, y, output_shape)

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        self._count(y_true, y_pred, weights)

    def _count(self, y_true: Array, y_pred: Array, weights: Array | None, first: int = 0, step: int = 1) -> None:
        """Of all outputs of a sample, or of the first, first + step, ..."""
        n = y_pred.shape[0]
        pred, targets = _targets.matrix(y_pred, n), _targets.matrix(y_true, n)
        _backend.kernels.confusion_counts(pred, targets, weights, self._steps, self.state, first, step)


class Precision(_Confusion):
    """tp / (tp + fp), 0 where nothing was positive.

    Args:
        thresholds: a number, or several in ascending order: the result is then a list. None: 0.5.
        class_id: counts only this output; None: all of them.
    """

    default_name = "precision"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        self.several = isinstance(thresholds, (list, tuple, np.ndarray))
        values = thresholds if self.several else [0.5 if thresholds is None else thresholds]
        self.thresholds = _ascending(self.default_name, values, 1)
        self.class_id = class_id
        if class_id is not None:
            _check.integer(self.default_name, "class_id", class_id, minimum=0)
        super().__init__(name)

    def accumulate(self, y_true: Array, y_pred: Array, weights: Array | None) -> None:
        classes = y_pred.shape[-1]
        if self.class_id is None:
            self._count(y_true, y_pred, weights)
        elif self.class_id < classes:
            self._count(y_true, y_pred, weights, self.class_id, classes)
        else:
            _check.fail(self.name, "class_id", f"below {classes}, the number of outputs", self.class_id)

    def result(self) -> float | list[float]:
        ratio = self._ratio(*self.sums)
        return [float(value) for value in ratio] if self.several else float(ratio[0])

    def _ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        return _divide(tp, tp + fp)

    def get_config(self) -> dict[str, Any]:
        thresholds = self.thresholds.tolist() if self.several else float(self.thresholds[0])
        return {**super().get_config(), "thresholds": thresholds, "class_id": self.class_id}


class Recall(Precision):
    """tp / (tp + fn), 0 where no target is positive; the arguments are those of Precision."""

    default_name = "recall"

    def _ratio(self, tp: Array, fp: Array, tn: Array, fn: Array) -> Array:
        return _divide(tp, tp + fn)


class AUC(_Confusion):
    """Area under the curve of true over false positive rate (ROC) or of precision over recall (PR).

    The curve is known at num_thresholds = k points, the thresholds -1e-7, 1 / (k - 1), 2 / (k - 1), ..., 1 + 1e-7.

    Args:
        num_thresholds: at least 2; more is more exact.
        curve: "ROC" or "PR".
        summation_method: "interpolation" (the trapezoidal rule for ROC, Davis & Goadrich's for PR), "minoring" or
            "majoring" (the lower or the upper end of each interval).
        thresholds: own ones in (0, 1), ascending, between -1e-7 and 1 + 1e-7; instead of num_thresholds.

    Reference: Davis & Goadrich 2006, The Relationship Between Precision-Recall and ROC Curves.
    """

    default_name = "auc"

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        self.curve = _check.choice("auc", "curve", curve, ("ROC", "PR"))
        methods = ("interpolation", "minoring", "majoring")
        self.summation_method = _check.choice("auc", "summation_method", summation_method, methods)
        count = _check.integer("auc", "num_thresholds", num_thresholds, minimum=2)
        if thresholds is not None and num_thresholds != 200:
            _check.fail("auc", "num_thresholds", "left out where thresholds are given", num_thresholds)
        inner = np.arange(1, count - 1) / (count - 1) if thresholds is None else thresholds
        self.own_thresholds = None if thresholds is None else [float(value) for value in thresholds]
        self.thresholds = _ascending("auc", [-1e-7, *inner, 1 + 1e-7], 2)
        super().__init__(name)

    def result(self) -> float:
        tp, fp, tn, fn = self.sums
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._interpolated_precision_recall()
        recall = _divide(tp, tp + fn)
        x, y = (_divide(fp, fp + tn), recall) if self.curve == "ROC" else (recall, _divide(tp, tp + fp))
        if self.summation_method == "interpolation":
            heights = (y[:-1] + y[1:]) / 2
        else:
            heights = (np.minimum if self.summation_method == "minoring" else np.maximum)(y[:-1], y[1:])
        return float(np.sum((x[:-1] - x[1:]) * heights))

    def _interpolated_precision_recall(self) -> float:
        """Between thresholds true positives grow linearly with all positives: each area is an integral with a log."""
        tp, fp, _, fn = self.sums
        positives = tp + fp
        slope = _divide(tp[:-1] - tp[1:], np.maximum(positives[:-1] - positives[1:], 0))
        intercept = tp[1:] - slope * positives[1:]
        ratio = np.where((positives[:-1] > 0) & (positives[1:] > 0), _divide(positives[:-1], positives[1:]), 1.0)
        return float(np.sum(_divide(slope * (tp[:-1] - tp[1:] + intercept * np.log(ratio)), tp[1:] + fn[1:])))

    def get_config(self) -> dict[str, Any]:
        count = {} if self.own_thresholds else {"num_thresholds": len(self.thresholds)}
        shape = {"curve": self.curve, "summation_method": self.summation_method, "thresholds": self.own_thresholds}
        return {**super().get_config(), **count, **shape}


def _ascending(function: str, values: Any, at_least: int) -> Array:
    thresholds = np.asarray(values, np.float32)
    if thresholds.ndim != 1 or len(thresholds) < at_least or not (np.diff(thresholds) > 0).all():
        _check.fail(function, "thresholds", "finite numbers in ascending order", _check.describe(list(values)))
    if not np.isfinite(thresholds).all():
        _check.fail(function, "thresholds", "finite numbers in ascending order", _check.describe(list(values)))
    return thresholds
