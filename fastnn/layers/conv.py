"""Convolutions over images, data in NHWC: [batch, height, width, channels]."""

from typing import Any

import numpy as np

from fastnn import _check, _geometry, activations, initializers, regularizers
from fastnn._backend import kernels
from fastnn._check import fail
from fastnn.layers.base import ActivatedLayer, Parameter, Shape


def check_data_format(data_format: str | None, function: str) -> None:
    """None and "channels_last" are the same; anything else is an error, as images are NHWC."""
    if data_format not in (None, "channels_last"):
        remedy = "Images are NHWC: transpose yours with x.transpose(0, 2, 3, 1)."
        fail(function, "data_format", "'channels_last'", repr(data_format), remedy)


def check_image(input_shape: Shape, name: str) -> None:
    """A sample must be an image."""
    if len(input_shape) != 3:
        remedy = "Grey images take an axis of one channel: x[..., None]." if len(input_shape) == 2 else ""
        fail(name, "input_shape", "(height, width, channels)", input_shape, remedy)


class _Convolution(ActivatedLayer):
    """What the convolutions share: window, bias, activation."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: Any,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        **kwargs: Any,
    ):
        super().__init__(activation, **kwargs)
        cls = type(self).__name__
        check_data_format(data_format, cls)
        self.kernel_size = _geometry.pair(kernel_size, cls, "kernel_size")
        self.strides = _geometry.pair(strides, cls, "strides")
        self.padding = _geometry.check_padding(padding, cls)
        self.dilation_rate = _geometry.pair(dilation_rate, cls, "dilation_rate")
        self.use_bias = bool(use_bias)
        self.bias_initializer = initializers.get(bias_initializer, cls, "bias_initializer")
        self.bias_regularizer = regularizers.get(bias_regularizer, cls, "bias_regularizer")
        self.kernel: Parameter
        self.bias: Parameter | None = None

    def _place(self, input_shape: Shape, channels: int) -> None:
        """Add the bias, find the padding and the output's shape."""
        if self.use_bias:
            self.bias = self.add_weight("bias", (channels,), self.bias_initializer, self.bias_regularizer)
        size = (input_shape[0], input_shape[1])
        self.amounts, output = _geometry.resolve(
            size, self.kernel_size, self.strides, self.padding, self.dilation_rate, self.name
        )
        self.output_shape = (*output, channels)

    def _config(self) -> dict[str, Any]:
        padding = self.padding if isinstance(self.padding, str) else list(self.padding)
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": padding,
            "dilation_rate": list(self.dilation_rate),
            "activation": activations.config(self.rule),
            "use_bias": self.use_bias,
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }


class Conv2D(_Convolution):
    """y[n, i, j, f] = activation(sum over (a, b, c) of x[n, i*s + a*d - p, j*s + b*d - p, c] * kernel[a, b, c, f] +
    bias[f]).

    Args:
        filters: output channels.
        kernel_size: an integer or (height, width).
        strides: an integer or (vertical, horizontal).
        padding: "valid", "same", or explicit: p, (vertical, horizontal) or ((top, bottom), (left, right)).
        data_format: None or "channels_last".
        dilation_rate: an integer or (vertical, horizontal); 1 is dense.
        groups: channels and filters are split into this many groups that don't see each other.
        activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: as in
            ``Dense``.
        name, trainable, input_shape: see ``Layer``.

    Input float32[n, h, w, c], output float32[n, h', w', filters]; kernel [kh, kw, c / groups, filters], bias [filters].
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        self.filters = _check.integer("Conv2D", "filters", filters, 1)
        self.groups = _check.integer("Conv2D", "groups", groups, 1)
        if self.filters % self.groups:
            fail("Conv2D", "groups", f"a divisor of the {self.filters} filters", self.groups)
        self.kernel_initializer = initializers.get(kernel_initializer, "Conv2D", "kernel_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, "Conv2D", "kernel_regularizer")

    def build(self, input_shape: Shape) -> None:
        check_image(input_shape, self.name)
        channels = input_shape[2]
        if channels % self.groups:
            fail(self.name, "groups", f"a divisor of the {channels} input channels", self.groups)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight("kernel", shape, self.kernel_initializer, self.kernel_regularizer)
        self._place(input_shape, self.filters)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self._x = x
        bias = self.bias
        y, z, activation = self._begin((x.shape[0], *self.output_shape), training)  # type: ignore[misc]
        kernels.conv2d_forward(
            x, self.kernel.value, None if bias is None else bias.value, y, z,
            self.strides, self.amounts, self.dilation_rate, self.groups, activation, self.rule.alpha,
        )  # fmt: skip
        return self._end(y)

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        x, kernel, bias = self._x, self.kernel, self.bias
        dy, saved, activation = self._begin_backward(dy)
        dx = self.gradient_buffer(x.shape, dy) if need_dx else None
        kernels.conv2d_backward(
            x, kernel.value, saved, dy, dy, kernel.grad, None if bias is None else bias.grad, dx,
            self.strides, self.amounts, self.dilation_rate, self.groups, activation, self.rule.alpha, accumulate,
        )  # fmt: skip
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            **self._config(),
            "filters": self.filters,
            "groups": self.groups,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


class DepthwiseConv2D(_Convolution):
    """Each channel convolved with ``depth_multiplier`` kernels of its own; output channel c * depth_multiplier + m.

    Args:
        kernel_size, strides, padding, data_format, dilation_rate: as in ``Conv2D``.
        depth_multiplier: output channels for each input channel.
        activation, use_bias, depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer: as in
            ``Dense``.
        name, trainable, input_shape: see ``Layer``.

    Input float32[n, h, w, c], output float32[n, h', w', c * depth_multiplier]; kernel [kh, kw, c, depth_multiplier].
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, **kwargs,
        )  # fmt: skip
        cls = "DepthwiseConv2D"
        self.depth_multiplier = _check.integer(cls, "depth_multiplier", depth_multiplier, 1)
        self.depthwise_initializer = initializers.get(depthwise_initializer, cls, "depthwise_initializer")
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer, cls, "depthwise_regularizer")

    def build(self, input_shape: Shape) -> None:
        check_image(input_shape, self.name)
        shape = (*self.kernel_size, input_shape[2], self.depth_multiplier)
        self.kernel = self.add_weight("kernel", shape, self.depthwise_initializer, self.depthwise_regularizer)
        self._place(input_shape, input_shape[2] * self.depth_multiplier)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self._x = x
        bias = self.bias
        y, z, activation = self._begin((x.shape[0], *self.output_shape), training)  # type: ignore[misc]
        kernels.depthwise_conv2d_forward(
            x, self.kernel.value, None if bias is None else bias.value, y, z,
            self.strides, self.amounts, self.dilation_rate, activation, self.rule.alpha,
        )  # fmt: skip
        return self._end(y)

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        x, kernel, bias = self._x, self.kernel, self.bias
        dy, saved, activation = self._begin_backward(dy)
        dx = self.gradient_buffer(x.shape, dy) if need_dx else None
        kernels.depthwise_conv2d_backward(
            x, kernel.value, saved, dy, dy, kernel.grad, None if bias is None else bias.grad, dx,
            self.strides, self.amounts, self.dilation_rate, activation, self.rule.alpha, accumulate,
        )  # fmt: skip
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            **self._config(),
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "depthwise_regularizer": regularizers.serialize(self.depthwise_regularizer),
        }
