"""A weight of a layer."""

import math
from typing import Any

import numpy as np

from fastnn._backend import assign, empty, zeros

Shape = tuple[int, ...]


class Parameter:
    """A weight: its value, its gradient, and what the optimizer needs to know about it.

    Attributes:
        name: "dense/kernel": the layer's name and the weight's, unique in a model.
        shape: its shape.
        value: float32; in a model a view of the flat buffer of all parameters.
        grad: float32 of the same shape, a view of the flat gradients; None if the parameter isn't trained.
        initializer, regularizer: as given to ``Layer.add_weight``.
        trainable: False for state that no gradient changes.
        update: None, or (while a step is captured) what a kernel needs to update the parameter itself.
    """

    __slots__ = ("grad", "initializer", "name", "regularizer", "shape", "trainable", "update", "value")

    def __init__(self, name: str, shape: Shape, initializer: Any, regularizer: Any, trainable: bool):
        self.name, self.shape = name, shape
        self.initializer, self.regularizer, self.trainable = initializer, regularizer, trainable
        self.value: np.ndarray = empty(shape)
        assign(self.value, initializer(shape))
        self.grad: np.ndarray | None = zeros(shape) if trainable else None
        self.update: tuple[Any, int] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"<Parameter {self.name} {self.shape}>"
