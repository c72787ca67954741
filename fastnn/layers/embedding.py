"""Embedding: ids in, rows of a table out."""

from typing import Any

import numpy as np

from fastnn import _check, initializers, regularizers
from fastnn._backend import kernels
from fastnn.layers.base import Layer, Shape


class Embedding(Layer):
    """y = embeddings[x]: a row of the table for each id. Only a model's first layer can be one.

    The gradient of a row is the sum of those of its ids, in their order: the same bits in each run and for every number
    of threads.

    Args:
        input_dim: number of rows; ids are from 0 to input_dim - 1.
        output_dim: size of a row.
        embeddings_initializer: see ``fastnn.initializers.get``.
        embeddings_regularizer: see ``fastnn.regularizers.get``.
        name, trainable, input_shape: see ``Layer``.

    Input int32[n, ...] when the layer is called alone; a model converts any whole numbers to that. Output
    float32[n, ..., output_dim]; weight embeddings [input_dim, output_dim].

    Raises:
        ValueError: an argument outside its range, an id outside of the table, or another layer in front.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.input_dim = _check.integer("Embedding", "input_dim", input_dim, 1, 2**31 - 1)
        self.output_dim = _check.integer("Embedding", "output_dim", output_dim, 1)
        self.embeddings_initializer = initializers.get(embeddings_initializer, "Embedding", "embeddings_initializer")
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer, "Embedding", "embeddings_regularizer")
        self.input_limit = self.input_dim

    def build(self, input_shape: Shape) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight("embeddings", shape, self.embeddings_initializer, self.embeddings_regularizer)
        self.output_shape = (*input_shape, self.output_dim)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self._ids = x.reshape(-1)
        y = self.buffer("y", (*x.shape, self.output_dim))
        kernels.embedding_forward(self.embeddings.value, self._ids, y.reshape(-1, self.output_dim))
        return y

    def backward(self, dy: np.ndarray, need_dx: bool, accumulate: bool) -> np.ndarray | None:
        """See ``Layer.backward``; ids have no gradient: None."""
        kernels.embedding_backward(self._ids, dy.reshape(-1, self.output_dim), self.embeddings.grad, accumulate)
        return None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
        }
