"""Losses, with Keras' names: what training makes small.

A loss of a batch is `scale * sum_i weights[i] * l_i`, where l_i is the loss of sample i; with scale 1/n it's Keras'
"sum_over_batch_size". Each class is a thin front for one kernel that computes the value and its gradient in one pass;
values are summed in float64 and in a fixed order. A softmax or sigmoid in front is fused into the kernel where the
model can: `fused_activation` says which.

    losses.get("sparse_categorical_crossentropy")
    losses.SparseCategoricalCrossentropy(from_logits=True)(y_true, y_pred)   # a float, as in Keras
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastnn import _backend, _check, _targets
from fastnn._check import fail

Array = np.ndarray


class Loss:
    """Base of all losses; see the module for what a loss is.

    Attributes:
        name: Keras' name in snake case; the history and saved models use it.
        target_form: "labels" (int32[n]) or "dense" (float32 of the output's shape).
        from_logits: whether predictions are logits (before softmax or sigmoid).
    """

    name: ClassVar[str] = "loss"
    target_form: ClassVar[str] = "dense"
    unit_targets: ClassVar[bool] = False
    activation: ClassVar[str | None] = None
    kernel: ClassVar[str] = ""
    logits_kernel: ClassVar[str] = ""
    from_logits: bool = False

    @property
    def fused_activation(self) -> str | None:
        """The activation of the last layer that this loss can take over: "softmax", "sigmoid" or None."""
        return None if self.from_logits else self.activation

    def prepare_targets(self, y: Any, output_shape: Sequence[int]) -> Array:
        """Targets as `compute` wants them, checked; `output_shape` is the model's, without the batch axis."""
        if self.target_form == "labels":
            return _targets.labels(self.name, y, output_shape)
        return _targets.dense(self.name, y, output_shape, self.unit_targets)

    def options(self) -> dict[str, float]:
        """What the kernel takes beside the arrays."""
        return {}

    def rows(self, y_pred: Array) -> int:
        """How many l_i there are: a row for each position of a sequence where l_i is over the last axis."""
        return y_pred.shape[0] if y_pred.ndim else 0

    def compute(
        self,
        y_true: Array,
        y_pred: Array,
        weights: Array | None,
        dpred: Array | None,
        total: Array,
        scale: float,
        from_logits: bool = False,
    ) -> None:
        """total += scale * sum_i weights[i] * l_i and dpred = its gradient, by one kernel call.

        Args:
            y_true: prepared targets.
            y_pred: float32[n, ...], C-contiguous.
            weights: float32[n], or None for ones.
            dpred: float32 like y_pred, may be y_pred itself; None: no gradient wanted.
            total: float64[1].
            scale: usually 1/n.
            from_logits: y_pred are logits because the model left its last activation to this loss.
        """
        rows = self.rows(y_pred)
        n = y_pred.shape[0]
        pred = _targets.matrix(y_pred, rows)
        grad = None if dpred is None else dpred.reshape(pred.shape)
        target = y_true.reshape(rows) if self.target_form == "labels" else y_true.reshape(pred.shape)
        if rows != n:
            weights, scale = _targets.row_weights(weights, rows), scale * n / rows
        name = self.logits_kernel if from_logits or self.from_logits else self.kernel
        getattr(_backend.kernels, name)(pred, target, weights, grad, total, scale, **self.options())

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The mean over samples of weights[i] * l_i, as Keras' loss objects return it."""
        pred = np.ascontiguousarray(y_pred, dtype=np.float32)
        target = self.prepare_targets(y_true, pred.shape[1:])
        if target.shape[0] != pred.shape[0]:
            fail(self.name, "y_true", f"as many as the {pred.shape[0]} predictions", f"{target.shape[0]}")
        weights = None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=np.float32)
        total = np.zeros(1)
        self.compute(target, pred, weights, None, total, 1.0 / max(pred.shape[0], 1))
        return float(total[0])

    def get_config(self) -> dict[str, Any]:
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.get_config().items())})"


class _Crossentropy(Loss):
    """What the cross-entropies share: logits or probabilities, label smoothing."""

    unit_targets = True

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0) -> None:
        self.from_logits = _check.boolean(self.name, "from_logits", from_logits)
        self.label_smoothing = _check.number(self.name, "label_smoothing", label_smoothing, minimum=0, below=1)

    def options(self) -> dict[str, float]:
        return {"label_smoothing": self.label_smoothing}

    def get_config(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class CategoricalCrossentropy(_Crossentropy):
    """l_i = -sum_j t_ij log p_ij, with p = softmax(logits) or the given probabilities divided by their sum.

    Targets float32[n, c] in [0, 1], usually one-hot; with label_smoothing s they become t (1 - s) + s / c.
    Probabilities are clipped to [1e-7, 1 - 1e-7] as Keras does; logits need none (stable at +-1e4).
    torch's CrossEntropyLoss is `from_logits=True`.
    """

    name = "categorical_crossentropy"
    activation = "softmax"
    kernel, logits_kernel = "cross_entropy", "softmax_cross_entropy"

    def rows(self, y_pred: Array) -> int:
        return math.prod(y_pred.shape[:-1])


class SparseCategoricalCrossentropy(Loss):
    """l_i = -log p_i[label_i], with p as in CategoricalCrossentropy; labels are integers of shape (n,) or (n, 1)."""

    name = "sparse_categorical_crossentropy"
    target_form = "labels"
    activation = "softmax"
    kernel, logits_kernel = "sparse_cross_entropy", "sparse_softmax_cross_entropy"

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = _check.boolean(self.name, "from_logits", from_logits)

    def rows(self, y_pred: Array) -> int:
        return math.prod(y_pred.shape[:-1])

    def get_config(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits}


class BinaryCrossentropy(_Crossentropy):
    """l_i = mean over outputs of -(t log p + (1 - t) log(1 - p)), with p = sigmoid(logits) or the given probabilities.

    Targets in [0, 1] of the output's shape; with label_smoothing s they become t (1 - s) + s / 2. Probabilities are
    clipped to [1e-7, 1 - 1e-7]. torch's BCEWithLogitsLoss is `from_logits=True`; its BCELoss clips log at -100.
    """

    name = "binary_crossentropy"
    activation = "sigmoid"
    kernel, logits_kernel = "binary_cross_entropy", "sigmoid_cross_entropy"


class MeanSquaredError(Loss):
    """l_i = mean over outputs of (p - t)^2."""

    name = "mean_squared_error"
    kernel = logits_kernel = "mean_squared_error"


class MeanAbsoluteError(Loss):
    """l_i = mean over outputs of |p - t|; the gradient at 0 is 0."""

    name = "mean_absolute_error"
    kernel = logits_kernel = "mean_absolute_error"


class Huber(Loss):
    """l_i = mean over outputs of e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2); e = p - t.

    torch's HuberLoss; its SmoothL1Loss divides by delta.

    Reference: Huber 1964, Robust Estimation of a Location Parameter.
    """

    name = "huber"
    kernel = logits_kernel = "huber"

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = _check.number("huber", "delta", delta, above=0)

    def options(self) -> dict[str, float]:
        return {"delta": self.delta}

    def get_config(self) -> dict[str, Any]:
        return {"delta": self.delta}


class Custom(Loss):
    """A loss in Python: function(y_true, y_pred) -> (l, dl), l float[n] and dl the gradient of sum_i l_i, like y_pred.

    Targets reach it as float32 of any shape; it can't be saved with a model.
    """

    native = False

    def __init__(self, function: Callable[[Array, Array], tuple[Array, Array]]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "custom")  # type: ignore[misc]

    def prepare_targets(self, y: Any, output_shape: Sequence[int]) -> Array:
        return np.ascontiguousarray(y, dtype=np.float32)

    def compute(
        self,
        y_true: Array,
        y_pred: Array,
        weights: Array | None,
        dpred: Array | None,
        total: Array,
        scale: float,
        from_logits: bool = False,
    ) -> None:
        result = self.function(y_true, y_pred)
        if not isinstance(result, tuple) or len(result) != 2:
            fail(self.name, "the function", "a pair (losses, gradient)", type(result).__name__)
        values, gradient = np.asarray(result[0], np.float64), np.asarray(result[1])
        n = y_pred.shape[0]
        if values.shape != (n,) or gradient.shape != y_pred.shape:
            fail(
                self.name,
                "(losses, gradient)",
                f"of shapes ({n},) and {y_pred.shape}",
                f"{values.shape} and {gradient.shape}",
            )
        factor = np.full(n, scale) if weights is None else scale * weights.astype(np.float64)
        total[0] += float(values @ factor)
        if dpred is not None:
            np.multiply(gradient, factor.astype(np.float32).reshape(n, *(1,) * (y_pred.ndim - 1)), out=dpred)

    def get_config(self) -> dict[str, Any]:
        given = _check.describe(self.function)
        fail("losses.serialize", "loss", "a loss of fastnn.losses to be saved", given, "Save only the weights.")


KNOWN: dict[str, type[Loss]] = {
    cls.name: cls
    for cls in (
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
        BinaryCrossentropy,
        MeanSquaredError,
        MeanAbsoluteError,
        Huber,
    )
}
ALIASES = {"mse": "mean_squared_error", "mae": "mean_absolute_error", "bce": "binary_crossentropy"}


def get(spec: Any) -> Loss:
    """A loss from a loss, its name ("mse", "MeanSquaredError"), a class, a saved config or a function (see Custom)."""
    if isinstance(spec, Loss):
        return spec
    if isinstance(spec, type) and issubclass(spec, Loss):
        return spec()
    if isinstance(spec, dict):
        return deserialize(spec)
    if isinstance(spec, str):
        return deserialize({"class_name": spec, "config": {}})
    if not callable(spec):
        fail("losses.get", "loss", "a name, a loss of fastnn.losses or a function", repr(spec))
    return Custom(spec)


def serialize(loss: Loss) -> dict[str, Any]:
    """A dict that JSON can hold; `deserialize` makes an equal loss of it."""
    return {"class_name": loss.name, "config": loss.get_config()}


def deserialize(config: dict[str, Any]) -> Loss:
    """The loss that `serialize` described."""
    name = config.get("class_name")
    classes = {cls.__name__: cls for cls in KNOWN.values()}
    known = {**KNOWN, **{alias: KNOWN[name] for alias, name in ALIASES.items()}, **classes}
    return known[_check.choice("losses.get", "loss", name, known)](**config.get("config", {}))
