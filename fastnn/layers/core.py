"""Layers without windows: Input, Dense, activations, Flatten, Reshape, Dropout."""

import math
from typing import Any

import numpy as np

from fastnn import _check, activations, initializers, random, regularizers
from fastnn._backend import kernels
from fastnn._check import fail
from fastnn.layers.base import ActivatedLayer, Layer, Parameter, Shape, as_rows, check_shape


class InputLayer(Layer):
    """Says what a model's samples look like; passes them on.

    Args:
        shape: of a sample, without the batch axis: (28, 28, 1), (1000,).
        name: None takes "input".
    """

    def __init__(self, shape: Any = None, name: str | None = None, input_shape: Any = None):
        if (shape is None) == (input_shape is None):
            fail("Input", "shape", "given, e.g. Input((28, 28, 1))", repr(shape))
        super().__init__(
            name=name or "input", input_shape=check_shape(input_shape if shape is None else shape, "Input", "shape")
        )

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        return x

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        return dy

    def get_config(self) -> dict[str, Any]:
        return {"shape": list(self.input_shape or ()), "name": self.name}


def Input(shape: Any, name: str | None = None) -> InputLayer:  # noqa: N802 (Keras' name)
    """The first entry of ``Sequential``: the shape of a sample, without the batch axis."""
    return InputLayer(shape, name)


class Dense(ActivatedLayer):
    """y = activation(x @ kernel + bias), over the last axis.

    Args:
        units: size of the output's last axis.
        activation: see ``fastnn.activations.get``; None is linear.
        use_bias: False leaves the bias out.
        kernel_initializer, bias_initializer: see ``fastnn.initializers.get``.
        kernel_regularizer, bias_regularizer: see ``fastnn.regularizers.get``.
        input_dim: the same as ``input_shape=(input_dim,)``.
        name, trainable, input_shape: see ``Layer``.

    Input float32[n, ..., i], output float32[n, ..., units]; kernel [i, units], bias [units].

    Raises:
        ValueError: an argument outside its range, or input without a feature axis.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        input_dim: int | None = None,
        **kwargs: Any,
    ):
        if input_dim is not None:
            if "input_shape" in kwargs:
                fail("Dense", "input_dim", "left out where input_shape is given", input_dim)
            kwargs["input_shape"] = (input_dim,)
        super().__init__(activation, **kwargs)
        self.units = _check.integer("Dense", "units", units, 1)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "Dense", "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "Dense", "bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, "Dense", "kernel_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, "Dense", "bias_regularizer")

    def build(self, input_shape: Shape) -> None:
        if not input_shape:
            fail(self.name, "input_shape", "at least one feature axis", input_shape)
        self.kernel = self.add_weight(
            "kernel", (input_shape[-1], self.units), self.kernel_initializer, self.kernel_regularizer
        )
        self.bias = (
            self.add_weight("bias", (self.units,), self.bias_initializer, self.bias_regularizer)
            if self.use_bias
            else None
        )
        self.output_shape = (*input_shape[:-1], self.units)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self._x = x2 = as_rows(x)
        bias = self.bias
        y, z, activation = self._begin((x2.shape[0], self.units), training)
        kernels.dense_forward(
            x2, self.kernel.value, None if bias is None else bias.value, y, z, activation, self.rule.alpha
        )
        y = self._end(y)
        return y if x.ndim == 2 else y.reshape(*x.shape[:-1], self.units)

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        x, kernel, bias = self._x, self.kernel, self.bias
        dy2, saved, activation = self._begin_backward(as_rows(dy))
        if kernel.update is not None:
            # dz must last until `update`. And threads don't wait for each other between layers: dx can't lie where
            # another layer's gradient is still read.
            dx = self.buffer("dx", x.shape) if need_dx else None
            dz = self.buffer("dz", dy2.shape) if self.gradients.hold(dy) else dy2
            kernels.dense_input_gradient(kernel.value, saved, dy2, dz, dx, activation, self.rule.alpha)
            self._left_out = (x, dz, kernel.update, None if bias is None else bias.update)
        else:
            dx = self.gradient_buffer(x.shape, dy) if need_dx else None
            db = None if bias is None else bias.grad
            kernels.dense_backward(
                x, kernel.value, saved, dy2, dy2, kernel.grad, db, dx, activation, self.rule.alpha, accumulate
            )
        return dx if dx is None or dy.ndim == 2 else dx.reshape(*dy.shape[:-1], x.shape[1])

    def self_updating(self) -> list[Parameter]:
        return self.trainable_parameters

    def update(self) -> None:
        kernels.dense_update(*self._left_out)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.config(self.rule),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
        }


class Activation(ActivatedLayer):
    """y = activation(x), any shape; softmax over the last axis.

    Args:
        activation: see ``fastnn.activations.get``.
        name, trainable, input_shape: see ``Layer``.
    """

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(activation, **kwargs)

    def build(self, input_shape: Shape) -> None:
        if self._softmax and not input_shape:
            fail(self.name, "input_shape", "at least one feature axis", input_shape)
        self.output_shape = input_shape

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        rule = self.rule
        if self.emit_logits or rule.name == "linear":
            return x
        if self._softmax:
            return self._end(x)
        y = self.buffer("y", x.shape)
        kernels.activation_forward(x, y, rule.code, rule.alpha)
        self._saved = x if rule.saves_input else y
        return y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if not need_dx:
            return None
        dy, saved, code = self._begin_backward(dy)
        if saved is not None:
            kernels.activation_backward(saved, dy, dy, code, self.rule.alpha)
        return dy

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.config(self.rule)}


class ReLU(Activation):
    """y = max(x, 0), or negative_slope * x below 0."""

    def __init__(self, negative_slope: float = 0.0, **kwargs: Any):
        self.alpha = _check.number("ReLU", "negative_slope", negative_slope, 0.0)
        name = "leaky_relu" if self.alpha else "relu"
        super().__init__(activations.get(name, "ReLU", self.alpha), **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "negative_slope": self.alpha}


class LeakyReLU(Activation):
    """y = x above 0, negative_slope * x below."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        self.alpha = _check.number("LeakyReLU", "negative_slope", negative_slope, 0.0)
        super().__init__(activations.get("leaky_relu", "LeakyReLU", self.alpha), **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "negative_slope": self.alpha}


class ELU(Activation):
    """y = x above 0, alpha * (exp(x) - 1) below."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        self.alpha = _check.number("ELU", "alpha", alpha, 0.0)
        super().__init__(activations.get("elu", "ELU", self.alpha), **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**Layer.get_config(self), "alpha": self.alpha}


class Softmax(Activation):
    """y = exp(x) / sum(exp(x)) over the last axis."""

    def __init__(self, **kwargs: Any):
        super().__init__("softmax", **kwargs)

    def get_config(self) -> dict[str, Any]:
        return Layer.get_config(self)


class Flatten(Layer):
    """[n, a, b, ...] to [n, a * b * ...]; the memory stays the same."""

    def build(self, input_shape: Shape) -> None:
        self.output_shape = (math.prod(input_shape),)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        return x.reshape(x.shape[0], *self.output_shape)  # type: ignore[misc]

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        return dy.reshape(dy.shape[0], *self.input_shape) if need_dx else None  # type: ignore[misc]


class Reshape(Flatten):
    """Samples of another shape with as many elements.

    Args:
        target_shape: without the batch axis; one entry may be -1.
        name, trainable, input_shape: see ``Layer``.
    """

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        sizes = (target_shape,) if isinstance(target_shape, int) else tuple(target_shape)
        if not all(isinstance(s, (int, np.integer)) and (s > 0 or s == -1) for s in sizes) or sizes.count(-1) > 1:
            fail("Reshape", "target_shape", "integers >= 1, at most one of them -1", repr(target_shape))
        self.target_shape = tuple(int(s) for s in sizes)

    def build(self, input_shape: Shape) -> None:
        total, known = math.prod(input_shape), math.prod(s for s in self.target_shape if s > 0)
        if total % known or (-1 not in self.target_shape and total != known):
            fail("Reshape", "target_shape", f"of {total} elements, as {input_shape} has", repr(self.target_shape))
        self.output_shape = tuple(total // known if s == -1 else s for s in self.target_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


class Dropout(Layer):
    """In training y = x * mask / (1 - rate), mask being 0 with probability ``rate``; else y = x.

    The mask is drawn by counter (Philox) from (seed, step, layer), again in the backward pass: it's never stored.

    Args:
        rate: 0 <= rate < 1.
        seed: None shares the generator that ``fastnn.set_seed`` starts.
        name, trainable, input_shape: see ``Layer``.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = _check.number("Dropout", "rate", rate, 0.0, below=1.0)
        self.seed = None if seed is None else _check.integer("Dropout", "seed", seed, 0, 2**64 - 1)
        random.generator()  # seeds the shared state, if nothing has
        self.random_state = random.dropout_state if self.seed is None else random.new_state(self.seed)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        if not training or not self.rate:
            return x
        y = self.buffer("y", x.shape)
        kernels.dropout(x, y, self.rate, self.random_state, self.stream)
        return y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        if not need_dx or not self.rate:
            return dy if need_dx else None
        dx = self.gradient_buffer(dy.shape, dy)
        kernels.dropout(dy, dx, self.rate, self.random_state, self.stream)
        return dx

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
