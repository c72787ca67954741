"""Losses with their gradients in one pass: the mean over samples of weights[i] * l_i, summed in float64.

Each returns the loss as a float, or with ``gradient=True`` the pair (loss, gradient with respect to the predictions,
float32). Predictions are float32 [n, c]; weights are float32 [n] or None for ones.
"""

from typing import Any

import numpy as np

from fastnn._backend import empty, kernels, zeros
from fastnn.functional.linear import need_rank

Loss = Any  # float, or (float, array) with gradient=True


def _loss(name: str, pred: np.ndarray, targets: np.ndarray, weights: Any, gradient: bool, **options: float) -> Loss:
    need_rank(name, "predictions", pred, 2)
    total = zeros(1, np.float64)
    dpred = empty(pred.shape) if gradient else None
    getattr(kernels, name)(pred, targets, weights, dpred, total, 1.0 / max(pred.shape[0], 1), **options)
    return (float(total[0]), dpred) if gradient else float(total[0])


def sparse_softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, gradient: bool = False
) -> Loss:
    """l_i = logsumexp(logits_i) - logits_i[label_i]; labels int32 [n] in [0, c)."""
    return _loss("sparse_softmax_cross_entropy", logits, labels, weights, gradient)


def softmax_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    gradient: bool = False,
) -> Loss:
    """l_i = -sum_j t_ij log softmax(logits_i)_j; targets float32 [n, c], smoothed to t (1 - s) + s / c."""
    return _loss("softmax_cross_entropy", logits, targets, weights, gradient, label_smoothing=label_smoothing)


def sparse_cross_entropy(
    probs: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None, gradient: bool = False
) -> Loss:
    """l_i = -log probs_i[label_i], probabilities clipped to [1e-7, 1 - 1e-7]; labels int32 [n] in [0, c)."""
    return _loss("sparse_cross_entropy", probs, labels, weights, gradient)


def cross_entropy(
    probs: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    gradient: bool = False,
) -> Loss:
    """l_i = -sum_j t_ij log probs_ij, probabilities clipped to [1e-7, 1 - 1e-7]; targets float32 [n, c]."""
    return _loss("cross_entropy", probs, targets, weights, gradient, label_smoothing=label_smoothing)


def sigmoid_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    gradient: bool = False,
) -> Loss:
    """l_i = mean over j of -(t log p + (1 - t) log(1 - p)), p = sigmoid(logits); targets float32 [n, f], smoothed to t
    (1 - s) + s / 2."""
    return _loss("sigmoid_cross_entropy", logits, targets, weights, gradient, label_smoothing=label_smoothing)


def binary_cross_entropy(
    probs: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    gradient: bool = False,
) -> Loss:
    """l_i = mean over j of -(t log p + (1 - t) log(1 - p)), probabilities clipped to [1e-7, 1 - 1e-7]."""
    return _loss("binary_cross_entropy", probs, targets, weights, gradient, label_smoothing=label_smoothing)


def mean_squared_error(
    pred: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None, gradient: bool = False
) -> Loss:
    """l_i = mean over j of (p - t)^2."""
    return _loss("mean_squared_error", pred, targets, weights, gradient)


def mean_absolute_error(
    pred: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None, gradient: bool = False
) -> Loss:
    """l_i = mean over j of |p - t|; the gradient at 0 is 0."""
    return _loss("mean_absolute_error", pred, targets, weights, gradient)


def huber(
    pred: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None = None,
    delta: float = 1.0,
    gradient: bool = False,
) -> Loss:
    """l_i = mean over j of e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2); e = p - t."""
    return _loss("huber", pred, targets, weights, gradient, delta=delta)
