"""Pooling over images, data in NHWC."""

from typing import Any

import numpy as np

from fastnn import _geometry
from fastnn._backend import kernels
from fastnn.layers.base import Layer, Shape
from fastnn.layers.conv import check_data_format, check_image


class _Pooling2D(Layer):
    """What the window pools share."""

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        cls = type(self).__name__
        check_data_format(data_format, cls)
        self.pool_size = _geometry.pair(pool_size, cls, "pool_size")
        self.strides = self.pool_size if strides is None else _geometry.pair(strides, cls, "strides")
        self.padding = _geometry.check_padding(padding, cls)

    def build(self, input_shape: Shape) -> None:
        check_image(input_shape, self.name)
        size = (input_shape[0], input_shape[1])
        self.amounts, output = _geometry.resolve(size, self.pool_size, self.strides, self.padding, (1, 1), self.name)
        self.output_shape = (*output, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        padding = self.padding if isinstance(self.padding, str) else list(self.padding)
        window = {"pool_size": list(self.pool_size), "strides": list(self.strides), "padding": padding}
        return {**super().get_config(), **window}


class MaxPooling2D(_Pooling2D):
    """The largest value in each window; NaN wins.

    Args:
        pool_size: an integer or (height, width) of the window.
        strides: None means pool_size.
        padding: "valid", "same" or explicit as in ``Conv2D``; the padding never wins.
        data_format: None or "channels_last".
        name, trainable, input_shape: see ``Layer``.
    """

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        y, self._index = self.outputs(x.shape[0], training)
        kernels.max_pool2d_forward(x, y, self._index, self.pool_size, self.strides, self.amounts)
        return y

    def outputs(self, n: int, training: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The buffers for n images: y, and in training the winners' positions in their windows."""
        shape = (n, *self.output_shape)  # type: ignore[misc]
        small = self.pool_size[0] * self.pool_size[1] <= 256
        index = self.buffer("index", shape, np.uint8 if small else np.uint16) if training else None
        return self.buffer("y", shape), index

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if not need_dx:
            return None
        dx = self.gradient_buffer((dy.shape[0], *self.input_shape), dy)  # type: ignore[misc]
        kernels.max_pool2d_backward(dy, self._index, dx, self.pool_size, self.strides, self.amounts)
        return dx


class AveragePooling2D(_Pooling2D):
    """The mean of each window, over the values that aren't padding.

    Args:
        pool_size, strides, padding, data_format: as in ``MaxPooling2D``.
        name, trainable, input_shape: see ``Layer``.
    """

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        y = self.buffer("y", (x.shape[0], *self.output_shape))  # type: ignore[misc]
        kernels.average_pool2d_forward(x, y, self.pool_size, self.strides, self.amounts)
        return y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if not need_dx:
            return None
        dx = self.gradient_buffer((dy.shape[0], *self.input_shape), dy)  # type: ignore[misc]
        kernels.average_pool2d_backward(dy, dx, self.pool_size, self.strides, self.amounts)
        return dx


class _GlobalPooling2D(Layer):
    """What the global pools share."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        check_data_format(data_format, type(self).__name__)
        self.keepdims = bool(keepdims)

    def build(self, input_shape: Shape) -> None:
        check_image(input_shape, self.name)
        self.output_shape = (1, 1, input_shape[2]) if self.keepdims else (input_shape[2],)

    def _output(self, y: np.ndarray) -> np.ndarray:
        return y.reshape(y.shape[0], 1, 1, y.shape[1]) if self.keepdims else y

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "keepdims": self.keepdims}


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean of each channel: [n, h, w, c] to [n, c], or [n, 1, 1, c] with ``keepdims``.

    Args:
        data_format: None or "channels_last".
        keepdims: keep the image's axes, of size 1.
        name, trainable, input_shape: see ``Layer``.
    """

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        y = self.buffer("y", (x.shape[0], x.shape[3]))
        kernels.global_average_pool_forward(x, y)
        return self._output(y)

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if not need_dx:
            return None
        dx = self.gradient_buffer((dy.shape[0], *self.input_shape), dy)  # type: ignore[misc]
        kernels.global_average_pool_backward(dy.reshape(dy.shape[0], -1), dx)
        return dx


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value of each channel: [n, h, w, c] to [n, c], or [n, 1, 1, c] with ``keepdims``.

    Args:
        data_format: None or "channels_last".
        keepdims: keep the image's axes, of size 1.
        name, trainable, input_shape: see ``Layer``.
    """

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        shape = (x.shape[0], x.shape[3])
        y = self.buffer("y", shape)
        self._index = self.buffer("index", shape, np.int32) if training else None
        kernels.global_max_pool_forward(x, y, self._index)
        return self._output(y)

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if not need_dx:
            return None
        dx = self.gradient_buffer((dy.shape[0], *self.input_shape), dy)  # type: ignore[misc]
        kernels.global_max_pool_backward(dy.reshape(dy.shape[0], -1), self._index, dx)
        return dx
