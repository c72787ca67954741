"""The form that losses and metrics want the targets in: checked and converted once, before training.

Two forms: *labels*, int32[n], one class index a row; and *dense*, float32 of the model's output shape. Conversion never
happens inside a kernel: whatever dtype and layout the user has is brought here into C-contiguous int32 or float32.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn import _backend, _devices
from fastnn._check import fail

Array = np.ndarray


def _numeric(function: str, y: Any) -> Array:
    array = np.asarray(y)
    if array.dtype == object or array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        fail(function, "y", "an array of numbers", f"dtype {array.dtype}", "Encode the targets as numbers first.")
    return array


def _where(bad: Array) -> str:
    index = np.unravel_index(int(np.argmax(bad)), bad.shape)
    return str(int(index[0])) if len(index) == 1 else str(tuple(int(i) for i in index))


def labels(function: str, y: Any, output_shape: Sequence[int]) -> Array:
    """Class indices as int32, from integers (or whole floats) of shape (n, *output_shape[:-1]) or the same and a 1.

    Raises:
        ValueError: another shape, values that aren't whole, or not in [0, classes).
    """
    array, classes = _numeric(function, y), int(output_shape[-1])
    wanted = (*array.shape[:1], *output_shape[:-1])
    if array.shape == (*wanted, 1):
        array = array.reshape(wanted)
    if array.shape != wanted or not wanted:
        shape = ", ".join(("n", *(str(size) for size in output_shape[:-1])))
        dense = array.shape[1:] == tuple(output_shape)
        fail(
            function,
            "y",
            f"class indices of shape ({shape}{',' if len(output_shape) == 1 else ''})",
            f"shape {array.shape}",
            "One-hot targets go with categorical_crossentropy." if dense else "",
        )
    bad = ~((array >= 0) & (array < classes))
    if array.dtype.kind == "f":
        bad |= array != np.floor(array)
    if bad.any():
        fail(
            function,
            "y",
            f"integers in [0, {classes})",
            f"{array.reshape(-1)[int(np.argmax(bad))]} at index {_where(bad)}",
            f"The model's output has {classes} classes.",
        )
    return np.ascontiguousarray(array, dtype=np.int32)


def dense(function: str, y: Any, output_shape: Sequence[int], unit_range: bool = False) -> Array:
    """Targets as float32 of shape (n, *output_shape); a last axis of 1 may be left out.

    Args:
        unit_range: whether values must lie in [0, 1].
    Raises:
        ValueError: another shape, or values outside [0, 1] where those are wanted.
    """
    array = _numeric(function, y)
    wanted = (*array.shape[:1], *output_shape)
    if array.shape == wanted[:-1] and wanted[-1] == 1:
        array = array.reshape(wanted)
    if array.shape != wanted:
        shape = ", ".join(("n", *(str(size) for size in output_shape)))
        indices = array.ndim <= len(output_shape) and array.dtype.kind in "iu"
        fail(
            function,
            "y",
            f"targets of shape ({shape})",
            f"shape {array.shape}",
            "Class indices go with sparse_categorical_crossentropy." if indices else "",
        )
    array = np.ascontiguousarray(array, dtype=np.float32)
    if unit_range:
        bad = ~((array >= 0) & (array <= 1))
        if bad.any():
            fail(function, "y", "in [0, 1]", f"{array.reshape(-1)[int(np.argmax(bad))]} at index {_where(bad)}")
    return array


def one_hot(indices: Array, classes: int) -> Array:
    """Labels as dense targets, float32[..., classes]."""
    out = np.zeros((*indices.shape, classes), np.float32)
    np.put_along_axis(out, indices[..., None].astype(np.int64), 1.0, axis=-1)
    return out


def matrix(array: Array, rows: int) -> Array:
    """A view of an array as a matrix of so many rows."""
    if array.ndim == 2 and array.shape[0] == rows:
        return array
    return array.reshape(rows, array.size // rows if rows else max(array.shape[-1], 1))


def row_weights(weights: Array | None, rows: int) -> Array | None:
    """Weights of n samples for `rows` rows, where each sample has several (a sequence)."""
    if weights is None or weights.shape[0] == rows or weights.shape[0] == 0:
        return weights
    n = weights.shape[0]
    repeated = _backend.empty((rows,))
    index = _repeats(n, rows // n, _devices.current())
    _backend.kernels.gather_rows(weights, index, repeated)  # a kernel, so that a tape records it
    return repeated


@functools.lru_cache(maxsize=8)
def _repeats(n: int, times: int, device: Any) -> Any:
    """0, ..., 0, 1, ..., 1, ..., n - 1, each so many times, on the thread's device."""
    return _backend.to_device(np.repeat(np.arange(n), times))
