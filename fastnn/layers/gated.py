"""Recurrent layers with gates: LSTM and GRU."""

from typing import Any

import numpy as np

from fastnn import _check, activations
from fastnn.layers.base import Shape
from fastnn.layers.recurrent import Recurrent


class _Gated(Recurrent):
    """A recurrent layer with gates, which have an activation of their own."""

    _kept_names: tuple[str, ...] = ("gates",)

    def __init__(self, units: int, activation: Any, recurrent_activation: Any, **kwargs: Any):
        super().__init__(units, activation, **kwargs)
        self.recurrent_rule = self._rule(recurrent_activation, "recurrent_activation")

    def _kept(self, shape: Shape) -> dict[str, np.ndarray]:
        return {"gates": self.buffer("gates", (*shape[:2], 4 * self.units))}

    def _options(self) -> dict[str, Any]:
        rule = self.recurrent_rule
        return {**super()._options(), "recurrent_activation": rule.code, "recurrent_alpha": rule.alpha}

    @property
    def _gradient_blocks(self) -> int:
        return 4

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "recurrent_activation": activations.config(self.recurrent_rule)}


class LSTM(_Gated):
    """Long short-term memory. With z = x[step] @ kernel + h @ recurrent_kernel + bias in four blocks i, f, g, o,
    s = recurrent_activation, a = activation, and h and c being 0 at first:

        c = s(f) * c + s(i) * a(g)
        h = s(o) * a(c)

    Args:
        units: size of h and of c.
        activation, recurrent_activation: "elu", "leaky_relu", "linear", "relu", "sigmoid" or "tanh", see
            ``fastnn.activations.get``; None is linear.
        use_bias: False leaves the bias out.
        kernel_initializer, recurrent_initializer, bias_initializer: see ``fastnn.initializers.get``.
        unit_forget_bias: the bias of the forget gate f begins with 1.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: see ``fastnn.regularizers.get``.
        return_sequences: the output is h of every step, in the order in which they were taken; else that of the last.
        go_backwards: from the last step to the first.
        name, trainable, input_shape: see ``Layer``.

    Input float32[n, steps, i], output float32[n, units] or [n, steps, units]; weights in this order: kernel [i, 4 *
    units], recurrent_kernel [units, 4 * units], bias [4 * units].

    Raises:
        ValueError: an argument outside its range, or input that isn't [n, steps, features].

    Reference: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """

    _blocks, _kernel = 4, "lstm"
    _kept_names = ("c", "gates")

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        **kwargs: Any,
    ):
        super().__init__(
            units, activation, recurrent_activation, use_bias=use_bias, kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer, bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer, return_sequences=return_sequences, go_backwards=go_backwards, **kwargs,
        )  # fmt: skip
        self.unit_forget_bias = _check.boolean("LSTM", "unit_forget_bias", unit_forget_bias)

    def _initial_bias(self) -> Any:
        return _ForgetBias(self.bias_initializer) if self.unit_forget_bias else self.bias_initializer

    def _kept(self, shape: Shape) -> dict[str, np.ndarray]:
        return {"c": self.buffer("c", shape), **super()._kept(shape)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias}


class _ForgetBias:
    """The initial bias of an LSTM: 1 for the forget gate, what is given for the others."""

    def __init__(self, initializer: Any):
        self.initializer = initializer

    def __call__(self, shape: Shape) -> np.ndarray:
        units = shape[0] // 4
        parts = [self.initializer((units,)), np.ones(units, np.float32), self.initializer((2 * units,))]
        return np.concatenate(parts)


class GRU(_Gated):
    """Gated recurrent unit. With three blocks z, r, g of x[step] @ kernel + bias and of h @ recurrent_kernel,
    s = recurrent_activation, a = activation, and h being 0 at first:

        z, r = s(z + h_z), s(r + h_r)
        g = a(g + r * (h_g + recurrent_bias)), or a(g + (r * h) @ recurrent_kernel_g) without reset_after
        h = z * h + (1 - z) * g

    Args:
        units: size of h.
        activation, recurrent_activation: "elu", "leaky_relu", "linear", "relu", "sigmoid" or "tanh", see
            ``fastnn.activations.get``; None is linear.
        use_bias: False leaves the bias out.
        kernel_initializer, recurrent_initializer, bias_initializer: see ``fastnn.initializers.get``.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: see ``fastnn.regularizers.get``.
        return_sequences: the output is h of every step, in the order in which they were taken; else that of the last.
        go_backwards: from the last step to the first.
        reset_after: whether the reset gate r comes after the product with h (as in cuDNN and torch) or before.
        name, trainable, input_shape: see ``Layer``.

    Input float32[n, steps, i], output float32[n, units] or [n, steps, units]; weights in this order: kernel [i, 3 *
    units], recurrent_kernel [units, 3 * units], bias [2, 3 * units] (of x and of h; [3 * units] without reset_after).

    Raises:
        ValueError: an argument outside its range, or input that isn't [n, steps, features].

    Reference: Cho et al. 2014.
    """

    _blocks, _kernel = 3, "gru"

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        return_sequences: bool = False,
        go_backwards: bool = False,
        reset_after: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            units, activation, recurrent_activation, use_bias=use_bias, kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer, bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer, recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer, return_sequences=return_sequences, go_backwards=go_backwards, **kwargs,
        )  # fmt: skip
        self.reset_after = _check.boolean("GRU", "reset_after", reset_after)

    def _bias_shape(self, columns: int) -> Shape:
        return (2, columns) if self.reset_after else (columns,)

    def _options(self) -> dict[str, Any]:
        return {**super()._options(), "reset_after": self.reset_after}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after}
