"""Embedding: rows of a table, and the gradient of the table."""

import numpy as np


def embedding_forward(w, ids, y):
    return {"y": w[ids]}


def embedding_backward(ids, dy, dw, accumulate):
    gradient = dw.copy() if accumulate else np.zeros(dw.shape)
    np.add.at(gradient, ids, dy)
    return {"dw": gradient}
