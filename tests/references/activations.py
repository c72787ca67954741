"""Activations, their derivatives, and softmax."""

import math

import numpy as np

# Those whose derivative is computed from the pre-activation; the others' from the result.
GRAD_FROM_INPUT = ("gelu", "gelu_tanh", "silu", "softplus")
ACTIVATIONS = (
    "linear", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh", "softplus",
)  # fmt: skip
_TANH_SCALE = math.sqrt(2 / math.pi)

erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(z):
    return np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))))


def activate(z, activation, alpha=0.0):
    """y = f(z)."""
    if activation == "linear":
        return z.copy()
    if activation == "relu":
        return np.maximum(z, 0)
    if activation == "leaky_relu":
        return np.where(z > 0, z, alpha * z)
    if activation == "elu":
        return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))
    if activation == "gelu":
        return z * (1 + erf(z / math.sqrt(2))) / 2
    if activation == "gelu_tanh":
        return z * (1 + np.tanh(_TANH_SCALE * (z + 0.044715 * z**3))) / 2
    if activation == "silu":
        return z * sigmoid(z)
    if activation == "sigmoid":
        return sigmoid(z)
    if activation == "tanh":
        return np.tanh(z)
    if activation == "softplus":
        return np.logaddexp(z, 0)
    raise KeyError(activation)


def derivative(saved, activation, alpha=0.0):
    """f'(z), from y = f(z) or, for those in GRAD_FROM_INPUT, from z."""
    if activation == "linear":
        return 1.0
    if activation == "relu":
        return np.where(saved > 0, 1.0, 0.0)
    if activation == "leaky_relu":
        return np.where(saved > 0, 1.0, alpha)
    if activation == "elu":
        return np.where(saved > 0, 1.0, saved + alpha)
    if activation == "gelu":
        density = np.exp(-(saved**2) / 2) / math.sqrt(2 * math.pi)
        return (1 + erf(saved / math.sqrt(2))) / 2 + saved * density
    if activation == "gelu_tanh":
        t = np.tanh(_TANH_SCALE * (saved + 0.044715 * saved**3))
        return (1 + t) / 2 + saved / 2 * (1 - t**2) * _TANH_SCALE * (1 + 3 * 0.044715 * saved**2)
    if activation == "silu":
        s = sigmoid(saved)
        return s + saved * s * (1 - s)
    if activation == "sigmoid":
        return saved * (1 - saved)
    if activation == "tanh":
        return 1 - saved**2
    if activation == "softplus":
        return sigmoid(saved)
    raise KeyError(activation)


def saved_for_backward(z, activation, alpha=0.0):
    """What the forward pass keeps for the backward pass."""
    if activation == "linear":
        return None
    return z if activation in GRAD_FROM_INPUT else activate(z, activation, alpha)


def activation_forward(x, y, activation, alpha=0.0):
    return {"y": activate(x, activation, alpha)}


def activation_backward(saved, dy, dx, activation, alpha=0.0):
    return {"dx": dy * derivative(saved, activation, alpha)}


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=1, keepdims=True)


def softmax_forward(x, y):
    return {"y": softmax(x)}


def softmax_backward(y, dy, dx):
    return {"dx": y * (dy - (y * dy).sum(axis=1, keepdims=True))}
