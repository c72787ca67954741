"""Activations and dropout: y has the shape of x, float32, any number of axes."""

from typing import Any

import numpy as np

from fastnn import activations, random
from fastnn._backend import empty, kernels
from fastnn._check import describe, fail, integer, number


def activation(x: np.ndarray, name: Any, alpha: float | None = None) -> np.ndarray:
    """The activation of this name.

    Args:
        x: float32, C-contiguous.
        name: see ``fastnn.activations.get``.
        alpha: negative slope of leaky_relu (0.2), alpha of elu (1.0).
    """
    rule = activations.get(name, "activation", alpha)
    if rule.name == "softmax":
        return softmax(x)
    _need_array(rule.name, x)
    y = empty(x.shape)
    kernels.activation_forward(x, y, rule.code, rule.alpha)
    return y


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return activation(x, "relu")


def leaky_relu(x: np.ndarray, negative_slope: float = 0.2) -> np.ndarray:
    """x above 0, negative_slope * x below."""
    return activation(x, "leaky_relu", negative_slope)


def elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """x above 0, alpha * (exp(x) - 1) below."""
    return activation(x, "elu", alpha)


def gelu(x: np.ndarray, approximate: bool = False) -> np.ndarray:
    """x * Phi(x), Phi the normal distribution function; ``approximate``: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715
    x^3)))."""
    return activation(x, "gelu_tanh" if approximate else "gelu")


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x)."""
    return activation(x, "silu")


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return activation(x, "sigmoid")


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return activation(x, "tanh")


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return activation(x, "softplus")


def softmax(x: np.ndarray) -> np.ndarray:
    """exp(x) / sum(exp(x)) over the last axis, stable for large x; float32 with at least one axis."""
    _need_array("softmax", x)
    if x.ndim == 0:
        fail("softmax", "x", "an array with at least one axis", describe(x))
    y = empty(x.shape)
    rows = (-1, x.shape[-1]) if x.shape[-1] else (0, 0)
    kernels.softmax_forward(x.reshape(rows), y.reshape(rows))
    return y


def dropout(x: np.ndarray, rate: float, seed: int | None = None) -> np.ndarray:
    """x * mask / (1 - rate), mask being 0 with probability ``rate``.

    Args:
        x: float32, C-contiguous.
        rate: 0 <= rate < 1.
        seed: the same seed gives the same mask; None draws a new one at each call, as ``fastnn.set_seed`` rules.
    """
    _need_array("dropout", x)
    rate = number("dropout", "rate", rate, 0.0, below=1.0)
    if seed is None:
        random.generator()  # seeds the state if nothing has
        random.advance()
        state = random.dropout_state
    else:
        state = random.new_state(integer("dropout", "seed", seed, 0, 2**64 - 1))
    y = empty(x.shape)
    kernels.dropout(x, y, rate, state, 0)
    return y


def _need_array(function: str, x: Any) -> None:
    if not isinstance(x, np.ndarray):
        fail(function, "x", "a NumPy array", describe(x), error=TypeError)
