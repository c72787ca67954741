"""Convolutions and pools over images, float32 [n, height, width, channels]."""

from typing import Any

import numpy as np

from fastnn import _geometry, activations
from fastnn._backend import empty, kernels
from fastnn._check import fail
from fastnn.functional.linear import finish, need_rank


def conv2d(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
    activation: Any = None,
) -> np.ndarray:
    """Convolution (cross-correlation, as in every framework), bias, activation.

    Args:
        x: float32 [n, h, w, c].
        kernel: float32 [kh, kw, c / groups, f].
        bias: float32 [f] or None.
        strides, dilation_rate: an integer or (vertical, horizontal).
        padding: "valid", "same", or explicit: p, (vertical, horizontal) or ((top, bottom), (left, right)).
        groups: channels and filters are split into this many groups that don't see each other.
        activation: see ``fastnn.activations.get``.

    Returns:
        float32 [n, h', w', f].
    """
    need_rank("conv2d", "x", x, 4)
    need_rank("conv2d", "kernel", kernel, 4)
    rule = activations.get(activation, "conv2d")
    stride = _geometry.pair(strides, "conv2d", "strides")
    dilation = _geometry.pair(dilation_rate, "conv2d", "dilation_rate")
    amounts, size = _place("conv2d", x, kernel.shape[:2], stride, padding, dilation)
    y = empty((x.shape[0], *size, kernel.shape[3]))
    kernels.conv2d_forward(x, kernel, bias, y, None, stride, amounts, dilation, groups, rule.code, rule.alpha)
    return finish(y, rule)


def depthwise_conv2d(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    activation: Any = None,
) -> np.ndarray:
    """Each channel convolved with kernels of its own; output channel c * multiplier + m.

    Args:
        x: float32 [n, h, w, c].
        kernel: float32 [kh, kw, c, multiplier].
        bias: float32 [c * multiplier] or None.
        strides, padding, dilation_rate, activation: as in ``conv2d``.

    Returns:
        float32 [n, h', w', c * multiplier].
    """
    name = "depthwise_conv2d"
    need_rank(name, "x", x, 4)
    need_rank(name, "kernel", kernel, 4)
    rule = activations.get(activation, name)
    stride = _geometry.pair(strides, name, "strides")
    dilation = _geometry.pair(dilation_rate, name, "dilation_rate")
    amounts, size = _place(name, x, kernel.shape[:2], stride, padding, dilation)
    y = empty((x.shape[0], *size, kernel.shape[2] * kernel.shape[3]))
    kernels.depthwise_conv2d_forward(x, kernel, bias, y, None, stride, amounts, dilation, rule.code, rule.alpha)
    return finish(y, rule)


def max_pool2d(x: np.ndarray, pool_size: Any = 2, strides: Any = None, padding: Any = "valid") -> np.ndarray:
    """The largest value in each window; NaN wins.

    Args:
        x: float32 [n, h, w, c].
        pool_size: an integer or (height, width).
        strides: None means pool_size.
        padding: as in ``conv2d``; it never wins.

    Returns:
        float32 [n, h', w', c].
    """
    window, stride, amounts, y = _pool("max_pool2d", x, pool_size, strides, padding)
    kernels.max_pool2d_forward(x, y, None, window, stride, amounts)
    return y


def average_pool2d(x: np.ndarray, pool_size: Any = 2, strides: Any = None, padding: Any = "valid") -> np.ndarray:
    """The mean of each window, over the values that aren't padding; arguments as in ``max_pool2d``."""
    window, stride, amounts, y = _pool("average_pool2d", x, pool_size, strides, padding)
    kernels.average_pool2d_forward(x, y, window, stride, amounts)
    return y


def global_average_pool2d(x: np.ndarray) -> np.ndarray:
    """The mean of each channel: float32 [n, h, w, c] to [n, c]."""
    need_rank("global_average_pool2d", "x", x, 4)
    y = empty((x.shape[0], x.shape[3]))
    kernels.global_average_pool_forward(x, y)
    return y


def global_max_pool2d(x: np.ndarray) -> np.ndarray:
    """The largest value of each channel: float32 [n, h, w, c] to [n, c]."""
    need_rank("global_max_pool2d", "x", x, 4)
    y = empty((x.shape[0], x.shape[3]))
    kernels.global_max_pool_forward(x, y, None)
    return y


def _pool(function: str, x: np.ndarray, pool_size: Any, strides: Any, padding: Any) -> tuple[Any, Any, Any, np.ndarray]:
    need_rank(function, "x", x, 4)
    window = _geometry.pair(pool_size, function, "pool_size")
    stride = window if strides is None else _geometry.pair(strides, function, "strides")
    amounts, size = _place(function, x, window, stride, padding, (1, 1))
    return window, stride, amounts, empty((x.shape[0], *size, x.shape[3]))


def _place(function: str, x: np.ndarray, window: Any, strides: Any, padding: Any, dilations: Any) -> Any:
    if 0 in window:
        fail(function, "kernel", "of at least 1 x 1", f"{window[0]} x {window[1]}")
    checked = _geometry.check_padding(padding, function)
    return _geometry.resolve((x.shape[1], x.shape[2]), window, strides, checked, dilations, function)
