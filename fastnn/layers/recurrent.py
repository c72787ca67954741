"""Recurrent layers: what all have in common, and SimpleRNN."""

from typing import Any

import numpy as np

from fastnn import _check, activations, initializers, regularizers
from fastnn._backend import kernels
from fastnn._check import fail
from fastnn.layers.base import Layer, Parameter, Shape


class Recurrent(Layer):
    """What the three share: weights, output shapes, buffers, the calls of the kernels.

    A subclass says how many blocks of ``units`` columns its weights have and what its kernels keep for the backward
    pass beside the outputs.
    """

    _blocks: int
    _kernel: str  # its kernels are _kernel_forward and _kernel_backward
    bias: Parameter | None

    def __init__(
        self,
        units: int,
        activation: Any,
        use_bias: bool,
        kernel_initializer: Any,
        recurrent_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        recurrent_regularizer: Any,
        bias_regularizer: Any,
        return_sequences: bool,
        go_backwards: bool,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        cls = type(self).__name__
        self.units = _check.integer(cls, "units", units, 1)
        self.rule = self._rule(activation, "activation")
        self.use_bias = _check.boolean(cls, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, cls, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, cls, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, cls, "bias_initializer")
        self.kernel_regularizer = regularizers.get(kernel_regularizer, cls, "kernel_regularizer")
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer, cls, "recurrent_regularizer")
        self.bias_regularizer = regularizers.get(bias_regularizer, cls, "bias_regularizer")
        self.return_sequences = _check.boolean(cls, "return_sequences", return_sequences)
        self.go_backwards = _check.boolean(cls, "go_backwards", go_backwards)

    def _rule(self, spec: Any, argument: str) -> activations.ActivationRule:
        """An activation whose derivative is computed from its result: the states are all that is kept."""
        rule = activations.from_config(spec, type(self).__name__)
        if rule.saves_input or rule.name == "softmax":
            wanted = "one of elu, leaky_relu, linear, relu, sigmoid, tanh"
            fail(type(self).__name__, argument, wanted, repr(rule.name))
        return rule

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 2:
            fail(self.name, "input_shape", "(steps, features)", input_shape)
        columns = self._blocks * self.units
        add = self.add_weight
        self.kernel = add("kernel", (input_shape[1], columns), self.kernel_initializer, self.kernel_regularizer)
        self.recurrent_kernel = add(
            "recurrent_kernel", (self.units, columns), self.recurrent_initializer, self.recurrent_regularizer
        )
        self.bias = None
        if self.use_bias:
            self.bias = add("bias", self._bias_shape(columns), self._initial_bias(), self.bias_regularizer)
        self.output_shape = (input_shape[0], self.units) if self.return_sequences else (self.units,)

    def _bias_shape(self, columns: int) -> Shape:
        return (columns,)

    def _initial_bias(self) -> Any:
        return self.bias_initializer

    def _kept(self, shape: Shape) -> dict[str, np.ndarray]:
        """What the forward kernel writes for the backward kernel, beside h [n, steps, units]."""
        return {}

    def _options(self) -> dict[str, Any]:
        """The arguments of both kernels that aren't arrays."""
        return {
            "activation": self.rule.code,
            "alpha": self.rule.alpha,
            "go_backwards": self.go_backwards,
            "return_sequences": self.return_sequences,
        }

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        shape = (*x.shape[:2], self.units)
        self._x = x
        self._states = {"h": self.buffer("h", shape), **self._kept(shape)} if training else {}
        given = dict.fromkeys(("h", *self._kept_names)) | self._states
        y = None
        if not training or not self.return_sequences or self.go_backwards:  # else h is the output
            y = self.buffer("y", (x.shape[0], *self.output_shape))  # type: ignore[misc]
        bias = None if self.bias is None else self.bias.value
        kernel, recurrent = self.kernel.value, self.recurrent_kernel.value
        getattr(kernels, f"{self._kernel}_forward")(x, kernel, recurrent, bias, y=y, **given, **self._options())
        return self._states["h"] if y is None else y

    _kept_names: tuple[str, ...] = ()

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        x = self._x
        dz = self.buffer("dz", (*x.shape[:2], self._gradient_blocks * self.units))
        dx = self.gradient_buffer(x.shape, dy) if need_dx else None
        dbias = None if self.bias is None else self.bias.grad
        getattr(kernels, f"{self._kernel}_backward")(
            x, self.kernel.value, self.recurrent_kernel.value, dy=dy, dz=dz, dkernel=self.kernel.grad,
            drecurrent_kernel=self.recurrent_kernel.grad, dbias=dbias, dx=dx, accumulate=accumulate, **self._states,
            **self._options(),
        )  # fmt: skip
        return dx

    @property
    def _gradient_blocks(self) -> int:
        return self._blocks

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.config(self.rule),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "recurrent_regularizer": regularizers.serialize(self.recurrent_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "return_sequences": self.return_sequences,
            "go_backwards": self.go_backwards,
        }


class SimpleRNN(Recurrent):
    """h = activation(x[step] @ kernel + h @ recurrent_kernel + bias), h being 0 at first.

    Args:
        units: size of h.
        activation: "elu", "leaky_relu", "linear", "relu", "sigmoid" or "tanh", see ``fastnn.activations.get``; None is
            linear.
        use_bias: False leaves the bias out.
        kernel_initializer, recurrent_initializer, bias_initializer: see ``fastnn.initializers.get``.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: see ``fastnn.regularizers.get``.
        return_sequences: the output is h of every step, in the order in which they were taken; else that of the last.
        go_backwards: from the last step to the first.
        name, trainable, input_shape: see ``Layer``.

    Input float32[n, steps, i], output float32[n, units] or [n, steps, units]; weights in this order: kernel [i, units],
    recurrent_kernel [units, units], bias [units].

    Raises:
        ValueError: an argument outside its range, or input that isn't [n, steps, features].

    Reference: Elman 1990.
    """

    _blocks, _kernel = 1, "simple_rnn"

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
            kernel_regularizer, recurrent_regularizer, bias_regularizer, return_sequences, go_backwards, **kwargs,
        )  # fmt: skip
