"""Normalization: BatchNormalization and LayerNormalization, over the last axis."""

import math
from typing import Any

import numpy as np

from fastnn import _check, initializers, regularizers
from fastnn._backend import kernels
from fastnn._check import fail
from fastnn.layers.base import Layer, Shape, as_rows


class _Normalization(Layer):
    """What both have: gamma and beta along the last axis, epsilon, and a backward pass of the same form."""

    _backward_kernel: str
    _x: np.ndarray
    _mean: np.ndarray | None
    _inv_std: np.ndarray | None

    def __init__(
        self,
        axis: int,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        cls = type(self).__name__
        self.axis = _check.integer(cls, "axis", axis)
        self.epsilon = _check.number(cls, "epsilon", epsilon, 0.0)
        self.center = _check.boolean(cls, "center", center)
        self.scale = _check.boolean(cls, "scale", scale)
        self.beta_initializer = initializers.get(beta_initializer, cls, "beta_initializer")
        self.gamma_initializer = initializers.get(gamma_initializer, cls, "gamma_initializer")
        self.beta_regularizer = regularizers.get(beta_regularizer, cls, "beta_regularizer")
        self.gamma_regularizer = regularizers.get(gamma_regularizer, cls, "gamma_regularizer")

    def build(self, input_shape: Shape) -> None:
        if not input_shape:
            fail(self.name, "input_shape", "at least one feature axis", input_shape)
        if self.axis not in (-1, len(input_shape)):
            remedy = "Only the last axis is normalized along or over."
            fail(type(self).__name__, "axis", f"-1, the last axis of {(None, *input_shape)}", self.axis, remedy)
        shape = input_shape[-1:]
        add, regular = self.add_weight, (self.gamma_regularizer, self.beta_regularizer)
        self.gamma = add("gamma", shape, self.gamma_initializer, regular[0]) if self.scale else None
        self.beta = add("beta", shape, self.beta_initializer, regular[1]) if self.center else None
        self.output_shape = input_shape

    def _values(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(gamma, beta) as the kernels take them."""
        return (None if self.gamma is None else self.gamma.value), (None if self.beta is None else self.beta.value)

    def _backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        dx = self.gradient_buffer(dy.shape, dy) if need_dx else None
        kernel = getattr(kernels, self._backward_kernel)
        dgamma = None if self.gamma is None else self.gamma.grad
        dbeta = None if self.beta is None else self.beta.grad
        kernel(
            self._x, self._values()[0], self._mean, self._inv_std, as_rows(dy), dgamma, dbeta,
            None if dx is None else as_rows(dx), accumulate,
        )  # fmt: skip
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
        }


class BatchNormalization(_Normalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, for each entry of the last axis (each channel).

    In training mean and variance are those of the batch over all other axes, and the moving averages follow them:
    ``moving = momentum * moving + (1 - momentum) * of_the_batch``, the variance being divided by the number of elements
    as in Keras (torch takes one less there). Otherwise, and where ``trainable`` is False, the moving averages are used.
    A batch whose statistics aren't finite leaves the averages as they were. With ``accumulate_steps`` each part of a
    batch is normalized by itself.

    Args:
        axis: -1, or the number of the last axis.
        momentum: 0 <= momentum <= 1, of the moving averages.
        epsilon: >= 0, added to the variance.
        center, scale: whether there's a beta, a gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: see
            ``fastnn.initializers.get``.
        beta_regularizer, gamma_regularizer: see ``fastnn.regularizers.get``.
        name, trainable, input_shape: see ``Layer``.

    Input and output float32[n, ..., c]; weights in this order: gamma [c], beta [c], moving_mean [c], moving_variance
    [c].

    Raises:
        ValueError: an argument outside its range, another axis than the last, or input without a feature axis.

    Reference: Ioffe and Szegedy 2015, algorithms 1 and 2.
    """

    _backward_kernel = "batch_norm_backward"

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            **kwargs,
        )  # fmt: skip
        cls = type(self).__name__
        self.momentum = _check.number(cls, "momentum", momentum, 0.0, 1.0)
        get = initializers.get
        self.moving_mean_initializer = get(moving_mean_initializer, cls, "moving_mean_initializer")
        self.moving_variance_initializer = get(moving_variance_initializer, cls, "moving_variance_initializer")
        self._of_batch = True

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        shape, add = input_shape[-1:], self.add_weight
        self.moving_mean = add("moving_mean", shape, self.moving_mean_initializer, trainable=False)
        self.moving_variance = add("moving_variance", shape, self.moving_variance_initializer, trainable=False)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self._of_batch = training and self.trainable
        y = self.buffer("y", x.shape)
        gamma, beta = self._values()
        mean, variance = self.moving_mean.value, self.moving_variance.value
        self._x = as_rows(x)
        if self._of_batch:
            self._mean, self._inv_std = self.buffer("mean", mean.shape), self.buffer("inv_std", mean.shape)
            kernels.batch_norm_forward(
                self._x, gamma, beta, as_rows(y), self._mean, self._inv_std, mean, variance, self.momentum, self.epsilon
            )
        else:
            kernels.batch_norm_inference(self._x, gamma, beta, mean, variance, as_rows(y), self.epsilon)
        return y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if self._of_batch:
            return self._backward(dy, need_dx, accumulate)
        if not need_dx:
            return None
        dx = self.gradient_buffer(dy.shape, dy)
        # Mean and deviation are constants: dx = dy gamma / deviation, the same product without mean and beta.
        gamma, variance = self._values()[0], self.moving_variance.value
        kernels.batch_norm_inference(as_rows(dy), gamma, None, None, variance, as_rows(dx), self.epsilon)
        return dx

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
        }


class LayerNormalization(_Normalization):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, mean and variance being those of the last axis.

    Args:
        axis: -1, or the number of the last axis.
        epsilon: >= 0, added to the variance.
        center, scale: whether there's a beta, a gamma.
        beta_initializer, gamma_initializer: see ``fastnn.initializers.get``.
        beta_regularizer, gamma_regularizer: see ``fastnn.regularizers.get``.
        name, trainable, input_shape: see ``Layer``.

    Input and output float32[n, ..., c]; weights in this order: gamma [c], beta [c].

    Raises:
        ValueError: an argument outside its range, another axis than the last, or input without a feature axis.

    Reference: Ba et al. 2016, equations 2 to 4.
    """

    _backward_kernel = "layer_norm_backward"

    def __init__(
        self,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            **kwargs,
        )  # fmt: skip

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        y = self.buffer("y", x.shape)
        self._x = as_rows(x)
        rows = (math.prod(x.shape[:-1]),)
        self._mean = self.buffer("mean", rows) if training else None
        self._inv_std = self.buffer("inv_std", rows) if training else None
        gamma, beta = self._values()
        kernels.layer_norm_forward(self._x, gamma, beta, as_rows(y), self._mean, self._inv_std, self.epsilon)
        return y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        return self._backward(dy, need_dx, accumulate)
