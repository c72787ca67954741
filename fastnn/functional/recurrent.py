"""Recurrent layers over sequences, float32 [n, steps, i], from a state of 0; formulas as in ``fastnn.layers``."""

from typing import Any

import numpy as np

from fastnn import activations
from fastnn._backend import empty, kernels
from fastnn._check import fail
from fastnn.functional.linear import need_rank


def simple_rnn(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    activation: Any = "tanh",
    go_backwards: bool = False,
    return_sequences: bool = False,
) -> np.ndarray:
    """h = activation(x[step] @ kernel + h @ recurrent_kernel + bias).

    Args:
        x: float32 [n, steps, i].
        kernel, recurrent_kernel, bias: float32 [i, u], [u, u], [u] or None.
        activation: one whose derivative is computed from its result, see ``fastnn.layers.SimpleRNN``.
        go_backwards: from the last step to the first.
        return_sequences: return h of every step, in the order in which they were taken.

    Returns:
        float32 [n, u], or [n, steps, u].

    Reference: Elman 1990.
    """
    y, options = _begin("simple_rnn", x, kernel, recurrent_kernel, activation, go_backwards, return_sequences)
    kernels.simple_rnn_forward(x, kernel, recurrent_kernel, bias, y, None, **options)
    return y


def lstm(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    go_backwards: bool = False,
    return_sequences: bool = False,
) -> np.ndarray:
    """Long short-term memory; see ``fastnn.layers.LSTM``.

    Args:
        x: float32 [n, steps, i].
        kernel, recurrent_kernel, bias: float32 [i, 4 u], [u, 4 u], [4 u] or None; blocks i, f, g, o.
        activation, recurrent_activation, go_backwards, return_sequences: as in ``simple_rnn``.

    Returns:
        float32 [n, u], or [n, steps, u].

    Reference: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """
    y, options = _begin("lstm", x, kernel, recurrent_kernel, activation, go_backwards, return_sequences)
    options |= _recurrent_options("lstm", recurrent_activation)
    kernels.lstm_forward(x, kernel, recurrent_kernel, bias, y, None, None, None, **options)
    return y


def gru(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    go_backwards: bool = False,
    return_sequences: bool = False,
    reset_after: bool = True,
) -> np.ndarray:
    """Gated recurrent unit; see ``fastnn.layers.GRU``.

    Args:
        x: float32 [n, steps, i].
        kernel, recurrent_kernel: float32 [i, 3 u], [u, 3 u]; blocks z, r, g.
        bias: float32 [2, 3 u], [3 u] without ``reset_after``, or None.
        activation, recurrent_activation, go_backwards, return_sequences: as in ``simple_rnn``.
        reset_after: whether the reset gate comes after the product with h.

    Returns:
        float32 [n, u], or [n, steps, u].

    Reference: Cho et al. 2014.
    """
    y, options = _begin("gru", x, kernel, recurrent_kernel, activation, go_backwards, return_sequences)
    options |= {**_recurrent_options("gru", recurrent_activation), "reset_after": bool(reset_after)}
    kernels.gru_forward(x, kernel, recurrent_kernel, bias, y, None, None, **options)
    return y


def _begin(
    function: str, x: Any, kernel: Any, recurrent_kernel: Any, activation: Any, go_backwards: bool, sequences: bool
) -> tuple[np.ndarray, dict[str, Any]]:
    """(y, what all kernels take beside arrays)"""
    need_rank(function, "x", x, 3)
    need_rank(function, "kernel", kernel, 2)
    need_rank(function, "recurrent_kernel", recurrent_kernel, 2)
    rule, units = _rule(function, "activation", activation), recurrent_kernel.shape[0]
    y = empty((*x.shape[:2], units) if sequences else (x.shape[0], units))
    options = {"go_backwards": bool(go_backwards), "return_sequences": bool(sequences)}
    return y, {"activation": rule.code, "alpha": rule.alpha, **options}


def _recurrent_options(function: str, activation: Any) -> dict[str, Any]:
    rule = _rule(function, "recurrent_activation", activation)
    return {"recurrent_activation": rule.code, "recurrent_alpha": rule.alpha}


def _rule(function: str, argument: str, spec: Any) -> activations.ActivationRule:
    rule = activations.get(spec, function)
    if rule.saves_input or rule.name == "softmax":
        fail(function, argument, "one of elu, leaky_relu, linear, relu, sigmoid, tanh", repr(rule.name))
    return rule
