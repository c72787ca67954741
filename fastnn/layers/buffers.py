"""Memory that a model's layers keep from step to step."""

import math
from typing import Any

import numpy as np

from fastnn._backend import empty

Shape = tuple[int, ...]


class Buffers:
    """Arrays by name, whose memory stays: a smaller batch gets the beginning of it."""

    def __init__(self) -> None:
        self._bases: dict[str, np.ndarray] = {}
        self._views: dict[tuple[str, Shape], np.ndarray] = {}

    def get(self, name: str, shape: Shape, dtype: Any = np.float32) -> np.ndarray:
        """An array of this shape; its content is whatever was last written there."""
        view = self._views.get((name, shape))
        return self._new_view(name, shape, dtype) if view is None else view

    def all(self) -> list[np.ndarray]:
        """What holds the arrays, one block a name."""
        return list(self._bases.values())

    def _new_view(self, name: str, shape: Shape, dtype: Any) -> np.ndarray:
        size = math.prod(shape)
        base = self._bases.get(name)
        if base is None or base.size < size:
            self._bases[name] = base = empty((size,), dtype)
            for key in [key for key in self._views if key[0] == name]:
                del self._views[key]
        view = self._views[name, shape] = base[:size].reshape(shape)
        return view


class GradientBuffers:
    """Memory for the gradients that go from layer to layer: two blocks in turn, as large as the largest gradient.

    A gradient is dead once the layer below has used it. With a block of its own for every layer, a backward pass would
    go through as much memory as the forward pass; two blocks stay in cache.
    """

    def __init__(self) -> None:
        self._buffers = Buffers()

    def __reduce__(self) -> Any:
        return GradientBuffers, ()  # a copy has memory of its own

    def take(self, shape: Shape, dy: np.ndarray) -> np.ndarray:
        """An array of this shape in the block that `dy` isn't in."""
        first = self._buffers.get("first", shape)
        return self._buffers.get("second", shape) if _owner(first) is _owner(dy) else first

    def hold(self, array: np.ndarray) -> bool:
        """Whether the array lies in one of the two blocks, so that it's soon overwritten."""
        return any(_owner(block) is _owner(array) for block in self._buffers.all())


def _owner(array: np.ndarray) -> Any:
    """What the array's memory belongs to: NumPy gives every view the owner as its base."""
    return array if array.base is None else array.base
