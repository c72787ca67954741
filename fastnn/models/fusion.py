"""Neighbouring layers that run as one kernel: a convolution with its activation and the max pooling behind it."""

from typing import Any

import numpy as np

from fastnn import _devices
from fastnn._backend import get_num_threads, kernels
from fastnn.layers import Conv2D, MaxPooling2D
from fastnn.layers.base import Layer

Steps = list[tuple[Any, list[Any]]]  # (what has forward and backward, the layers that it stands for)

_LINEAR, _RELU = kernels.ACTIVATIONS["linear"], kernels.ACTIVATIONS["relu"]


class ConvPool:
    """A ``Conv2D`` and the ``MaxPooling2D`` behind it as one step: what lies between them is never stored.

    Args:
        conv, pool: built; the model's own, which keep their weights.
    """

    def __init__(self, conv: Conv2D, pool: MaxPooling2D):
        self._conv, self._pool = conv, pool
        self._place = {
            "strides": conv.strides,
            "padding": conv.amounts,
            "dilations": conv.dilation_rate,
            "groups": conv.groups,
            "activation": conv.rule.code,
            "window": pool.pool_size,
            "pool_strides": pool.strides,
            "pool_padding": pool.amounts,
        }

    @staticmethod
    def fits(conv: Layer, pool: Layer) -> bool:
        """Whether the kernel does what these two layers do."""
        return (
            type(conv) is Conv2D
            and type(pool) is MaxPooling2D
            and not conv._softmax
            and conv.rule.code in (_LINEAR, _RELU)
            and conv.kernel.value.size <= kernels.LARGEST_POOLED_KERNEL
        )

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        conv, pool = self._conv, self._pool
        gpu = _devices.current()
        if gpu is None:
            self._fused = x.shape[0] >= get_num_threads()  # threads share out whole images
        else:
            self._fused = hasattr(gpu.kernels, "conv2d_max_pool2d_forward")
        if not self._fused:
            return pool.forward(conv.forward(x, training), training)
        self._x = x
        self._y, self._index = pool.outputs(x.shape[0], training)
        bias = None if conv.bias is None else conv.bias.value
        kernels.conv2d_max_pool2d_forward(x, conv.kernel.value, bias, self._y, self._index, **self._place)
        return self._y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        conv = self._conv
        if not self._fused:
            dy_conv = self._pool.backward(dy, True, accumulate)
            assert dy_conv is not None
            return conv.backward(dy_conv, need_dx, accumulate)
        dx = conv.gradient_buffer(self._x.shape, dy) if need_dx else None
        db = None if conv.bias is None else conv.bias.grad
        kernels.conv2d_max_pool2d_backward(
            self._x, conv.kernel.value, self._y, self._index, dy, conv.kernel.grad, db, dx,
            **self._place, accumulate=accumulate,
        )  # fmt: skip
        return dx


def fuse(layers: list[Any]) -> Steps:
    """The steps that a pass goes through, in order."""
    steps: Steps = []
    i = 0
    while i < len(layers):
        if i + 1 < len(layers) and ConvPool.fits(layers[i], layers[i + 1]):
            steps.append((ConvPool(layers[i], layers[i + 1]), layers[i : i + 2]))
            i += 2
        else:
            steps.append((layers[i], layers[i : i + 1]))
            i += 1
    return steps
