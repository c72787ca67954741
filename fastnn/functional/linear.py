"""Matrix products."""

from typing import Any

import numpy as np

from fastnn import activations
from fastnn._backend import empty, kernels
from fastnn._check import describe, fail


def need_rank(function: str, argument: str, x: Any, rank: int) -> None:
    """An array with this many axes; the kernels check the rest."""
    if not isinstance(x, np.ndarray) or x.ndim != rank:
        fail(function, argument, f"an array with {rank} axes", describe(x))


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool = False,
    bias: np.ndarray | None = None,
    activation: Any = None,
) -> np.ndarray:
    """c = activation(op(a) @ op(b) + bias), or with ``accumulate`` c += op(a) @ op(b) + bias.

    Args:
        a, b: float32 matrices, op(a) [m, k], op(b) [k, n]; rows may be apart (a slice of columns), the last axis is
            contiguous.
        c: float32 [m, n] to write to; None makes a new one.
        transpose_a, transpose_b: op transposes.
        accumulate: add to c, which is needed then.
        bias: float32 [n].
        activation: see ``fastnn.activations.get``; neither softmax nor, with ``accumulate``, any is possible here.

    Returns:
        c.

    Raises:
        ValueError, TypeError: shapes that don't fit, another dtype or layout.
    """
    need_rank("gemm", "a", a, 2)
    need_rank("gemm", "b", b, 2)
    rule = activations.get(activation, "gemm")
    if rule.name == "softmax":
        fail("gemm", "activation", "an elementwise one", "'softmax'", "Call softmax on the result.")
    if accumulate and rule.name != "linear":
        fail("gemm", "activation", "None with accumulate=True", repr(activation))
    if c is None:
        if accumulate:
            fail("gemm", "c", "given with accumulate=True", "None")
        c = empty((a.shape[1 if transpose_a else 0], b.shape[0 if transpose_b else 1]))
    kernels.gemm(a, b, c, transpose_a, transpose_b, accumulate, bias, rule.code, rule.alpha)
    return c


def dense(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None = None, activation: Any = None) -> np.ndarray:
    """activation(x @ kernel + bias).

    Args:
        x: float32 [n, i].
        kernel: float32 [i, o].
        bias: float32 [o] or None.
        activation: see ``fastnn.activations.get``.

    Returns:
        float32 [n, o].
    """
    need_rank("dense", "x", x, 2)
    need_rank("dense", "kernel", kernel, 2)
    rule = activations.get(activation, "dense")
    y = empty((x.shape[0], kernel.shape[1]))
    kernels.dense_forward(x, kernel, bias, y, None, rule.code, rule.alpha)
    return finish(y, rule)


def finish(y: np.ndarray, rule: activations.ActivationRule) -> np.ndarray:
    """y, or its softmax over the last axis where that's the activation."""
    if rule.name != "softmax":
        return y
    out = empty(y.shape)
    kernels.softmax_forward(y.reshape(-1, y.shape[-1]), out.reshape(-1, y.shape[-1]))
    return out
