"""Metrics, with Keras' names: what training reports.

    model.compile(..., metrics=["accuracy", metrics.AUC(curve="PR")])
    metrics.Precision()(y_true, y_pred)      # on arrays, as in Keras

"accuracy" becomes the sparse, categorical or binary one by the loss and the output's shape: labels with a sparse
cross-entropy, binary with a binary cross-entropy or a single output, otherwise categorical. Keras takes the categorical
one for several outputs under a binary cross-entropy; each output is a question of its own there, so it's binary here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastnn import _check
from fastnn.metrics.base import Custom, Metric
from fastnn.metrics.confusion import AUC, Precision, Recall
from fastnn.metrics.means import (
    BinaryAccuracy,
    CategoricalAccuracy,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)

__all__ = ["AUC", "KNOWN", "BinaryAccuracy", "CategoricalAccuracy", "Custom", "MeanAbsoluteError", "MeanSquaredError"]
__all__ += ["Metric", "Precision", "Recall", "RootMeanSquaredError", "SparseCategoricalAccuracy"]
__all__ += ["SparseTopKCategoricalAccuracy", "TopKCategoricalAccuracy", "deserialize", "get", "serialize"]

_CLASSES: list[type[Metric]] = [
    SparseCategoricalAccuracy,
    CategoricalAccuracy,
    BinaryAccuracy,
    SparseTopKCategoricalAccuracy,
]
_CLASSES += [TopKCategoricalAccuracy, MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError, Precision, Recall, AUC]
KNOWN: dict[str, Any] = {cls.default_name: cls for cls in _CLASSES}
_ALIASES = {"mse": MeanSquaredError, "mae": MeanAbsoluteError, "rmse": RootMeanSquaredError}
_ACCURACY = ("accuracy", "acc")


def get(spec: Any, loss: Any = None, output_shape: Sequence[int] = ()) -> Metric:
    """A metric from a metric, its name, a class, a saved config or a function (see Custom).

    Args:
        spec: a name gives the metric that name in the history: "acc" stays "acc".
        loss: the model's loss and
        output_shape: the model's output shape without the batch axis, which decide what "accuracy" means.
    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if isinstance(spec, Metric):
        return spec
    if isinstance(spec, type) and issubclass(spec, Metric):
        return spec()
    if isinstance(spec, dict):
        return deserialize(spec)
    if callable(spec):
        return Custom(spec)
    if spec in _ACCURACY:
        return _accuracy(spec, loss, output_shape)
    classes = {cls.__name__: cls for cls in KNOWN.values()}
    known = {**KNOWN, **_ALIASES, **classes}
    cls = known[_check.choice("metrics.get", "metric", spec, [*_ACCURACY, *known])]
    return cls() if spec in classes else cls(name=spec)


def _accuracy(name: str, loss: Any, output_shape: Sequence[int]) -> Metric:
    loss_name = getattr(loss, "name", "")
    if getattr(loss, "target_form", "dense") == "labels":
        return SparseCategoricalAccuracy(name=name)
    if loss_name == "binary_crossentropy":
        return BinaryAccuracy(name=name, threshold=0.0 if loss.from_logits else 0.5)
    if tuple(output_shape)[-1:] == (1,):
        return BinaryAccuracy(name=name)
    return CategoricalAccuracy(name=name)


def serialize(metric: Metric) -> dict[str, Any]:
    """A dict that JSON can hold; `deserialize` makes an equal metric of it."""
    return {"class_name": metric.default_name, "config": metric.get_config()}


def deserialize(config: dict[str, Any]) -> Metric:
    """The metric that `serialize` described."""
    name = _check.choice("metrics.deserialize", "class_name", config.get("class_name"), KNOWN)
    return KNOWN[name](**config.get("config", {}))
