"""Normalization along or over the last axis: y has the shape of x, float32."""

import numpy as np

from fastnn._backend import empty, kernels, zeros
from fastnn._check import describe, fail, number


def batch_norm(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    mean: np.ndarray | None = None,
    variance: np.ndarray | None = None,
    epsilon: float = 1e-3,
) -> np.ndarray:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, for each entry of the last axis.

    Args:
        x: float32 [..., c], C-contiguous.
        gamma, beta: float32 [c] or None: 1 and 0.
        mean, variance: float32 [c], or None: both those of x itself over all other axes, which then has to have
            elements.
        epsilon: >= 0.

    Reference: Ioffe and Szegedy 2015.
    """
    rows, y = _rows("batch_norm", x), empty(x.shape)
    epsilon = number("batch_norm", "epsilon", epsilon, 0.0)
    if (mean is None) != (variance is None):
        fail("batch_norm", "mean and variance", "both given or both None", "one of them")
    if variance is not None:
        kernels.batch_norm_inference(rows, gamma, beta, mean, variance, y.reshape(rows.shape), epsilon)
        return y
    if x.size == 0:
        fail("batch_norm", "x", "an array with elements, where mean and variance are its own", describe(x))
    kept = [zeros(x.shape[-1:]) for _ in range(4)]
    kernels.batch_norm_forward(rows, gamma, beta, y.reshape(rows.shape), *kept, 0.0, epsilon)
    return y


def layer_norm(
    x: np.ndarray, gamma: np.ndarray | None = None, beta: np.ndarray | None = None, epsilon: float = 1e-3
) -> np.ndarray:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, with mean and variance over the last axis.

    Args:
        x: float32 [..., c], C-contiguous.
        gamma, beta: float32 [c] or None: 1 and 0.
        epsilon: >= 0.

    Reference: Ba et al. 2016.
    """
    rows, y = _rows("layer_norm", x), empty(x.shape)
    epsilon = number("layer_norm", "epsilon", epsilon, 0.0)
    kernels.layer_norm_forward(rows, gamma, beta, y.reshape(rows.shape), None, None, epsilon)
    return y


def _rows(function: str, x: np.ndarray) -> np.ndarray:
    """x as [rows, last axis]."""
    if not isinstance(x, np.ndarray):
        fail(function, "x", "a NumPy array", describe(x), error=TypeError)
    if x.ndim == 0:
        fail(function, "x", "an array with at least one axis", describe(x))
    return x.reshape(-1 if x.shape[-1] else 0, x.shape[-1])
