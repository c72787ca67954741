"""Random crops and flips: the draws of Philox, then the pixels one by one."""

import numpy as np

from .dropout import philox4x32


def _moves(count, top, left, horizontal, vertical, state, stream):
    """(top, left, whether flipped sideways, whether upside down) of each image."""
    seed, step = (int(value) for value in state)
    counter = [[i, 0, step % 2**32, stream] for i in range(count)]
    words = philox4x32(np.array(counter, np.uint64).reshape(count, 4), [seed % 2**32, seed >> 32])
    for a, b, c, d in words.tolist():
        corner = [low + (word * (high - low + 1) >> 32) for word, (low, high) in ((a, top), (b, left))]
        yield *corner, horizontal and c >= 2**31, vertical and d >= 2**31


def _pixels(x_shape, y_shape, *draw):
    """(index into y, index into x) of every pixel of y that lies inside of x."""
    (n, height, width, _), (_, out_height, out_width, _) = x_shape, y_shape
    for i, (top, left, sideways, upside_down) in enumerate(_moves(n, *draw)):
        for r in range(out_height):
            for c in range(out_width):
                row = top + (out_height - 1 - r if upside_down else r)
                col = left + (out_width - 1 - c if sideways else c)
                if 0 <= row < height and 0 <= col < width:
                    yield (i, r, c), (i, row, col)


def crop_flip_forward(x, y, top, left, horizontal, vertical, state, stream=0):
    out = np.zeros(y.shape)
    for target, source in _pixels(x.shape, y.shape, top, left, horizontal, vertical, state, stream):
        out[target] = x[source]
    return {"y": out}


def crop_flip_backward(dy, dx, top, left, horizontal, vertical, state, stream=0):
    out = np.zeros(dx.shape)
    for source, target in _pixels(dx.shape, dy.shape, top, left, horizontal, vertical, state, stream):
        out[target] += dy[source]
    return {"dx": out}
