"""Pooling in NHWC."""

import numpy as np

from .conv import output_size, pad, taps


def _windows(x, window, strides, padding, value):
    """(window's area, n, oh, ow, c): what each position of the window sees."""
    oh = output_size(x.shape[1], window[0], strides[0], padding[0], padding[1])
    ow = output_size(x.shape[2], window[1], strides[1], padding[2], padding[3])
    padded = pad(x, padding, value)
    return np.stack([padded[:, rows, columns] for _, _, rows, columns in taps(window, strides, (1, 1), (oh, ow))])


def _scatter(pieces, shape, window, strides, padding):
    """The sum of what each window position sends back to the image."""
    top, bottom, left, right = padding
    n, h, w, c = shape
    dpadded = np.zeros((n, h + top + bottom, w + left + right, c))
    for piece, (_, _, rows, columns) in zip(pieces, taps(window, strides, (1, 1), pieces.shape[2:4])):
        dpadded[:, rows, columns] += piece
    return dpadded[:, top : top + h, left : left + w]


def max_pool2d_forward(x, y, index, window, strides, padding=(0, 0, 0, 0)):
    """The index is the position in the window of its first largest value; NaN counts as larger than any number."""
    seen = _windows(x, window, strides, padding, -np.inf)
    return {"y": seen.max(axis=0), "index": seen.argmax(axis=0)}


def max_pool2d_backward(dy, index, dx, window, strides, padding=(0, 0, 0, 0)):
    area = np.arange(window[0] * window[1]).reshape(-1, 1, 1, 1, 1)
    return {"dx": _scatter(np.where(area == index, dy, 0.0), dx.shape, window, strides, padding)}


def _counts(shape, window, strides, padding):
    """How many pixels of the image, not of the padding, each window sees."""
    return _windows(np.ones(shape), window, strides, padding, 0.0).sum(axis=0)


def average_pool2d_forward(x, y, window, strides, padding=(0, 0, 0, 0)):
    return {"y": _windows(x, window, strides, padding, 0.0).sum(axis=0) / _counts(x.shape, window, strides, padding)}


def average_pool2d_backward(dy, dx, window, strides, padding=(0, 0, 0, 0)):
    piece = dy / _counts(dx.shape, window, strides, padding)
    pieces = np.broadcast_to(piece, (window[0] * window[1], *dy.shape))
    return {"dx": _scatter(pieces, dx.shape, window, strides, padding)}


def global_average_pool_forward(x, y):
    return {"y": x.mean(axis=(1, 2))}


def global_average_pool_backward(dy, dx):
    _, h, w, _ = dx.shape
    return {"dx": np.broadcast_to(dy[:, None, None, :] / (h * w), dx.shape)}


def global_max_pool_forward(x, y, index):
    n, h, w, c = x.shape
    pixels = x.reshape(n, h * w, c)
    return {"y": pixels.max(axis=1), "index": pixels.argmax(axis=1)}


def global_max_pool_backward(dy, index, dx):
    n, h, w, c = dx.shape
    pixels = np.where(np.arange(h * w)[None, :, None] == index[:, None, :], dy[:, None, :], 0.0)
    return {"dx": pixels.reshape(dx.shape)}
