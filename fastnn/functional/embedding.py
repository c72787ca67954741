"""Rows of a table."""

import numpy as np

from fastnn._backend import empty, kernels
from fastnn._check import describe, fail
from fastnn.functional.linear import need_rank


def embedding(ids: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """embeddings[ids].

    Args:
        ids: int32 or int64 [...], C-contiguous, from 0 to v - 1.
        embeddings: float32 [v, d].

    Returns:
        float32 [..., d].

    Raises:
        ValueError, TypeError: an id outside of the table, another dtype or layout.
    """
    if not isinstance(ids, np.ndarray) or ids.dtype not in (np.int32, np.int64):
        fail("embedding", "ids", "an array of int32 or int64", describe(ids), error=TypeError)
    need_rank("embedding", "embeddings", embeddings, 2)
    y = empty((*ids.shape, embeddings.shape[1]))
    kernels.embedding_forward(embeddings, ids.reshape(-1), y.reshape(ids.size, embeddings.shape[1]))
    return y
