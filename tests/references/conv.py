"""Convolutions in NHWC, tap by tap: one matrix product for each position in the window."""

import numpy as np

from .activations import activate, derivative
from .dense import accumulated


def output_size(size, window, stride, before, after, dilation=1):
    """How many windows fit along one axis."""
    return max(0, (size + before + after - (window - 1) * dilation - 1) // stride + 1)


def same_padding(size, window, stride, dilation=1):
    """(before, after) of Keras' padding="same": ceil(size / stride) windows, an odd pixel goes behind."""
    total = max(0, (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def pad(x, padding, value=0.0):
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def taps(window, strides, dilations, output):
    """For each position of the window (in row order), the slices of the padded image that it sees."""
    (sh, sw), (dh, dw), (oh, ow) = strides, dilations, output
    for i in range(window[0]):
        for j in range(window[1]):
            rows = slice(i * dh, i * dh + (oh - 1) * sh + 1, sh) if oh else slice(0, 0)
            columns = slice(j * dw, j * dw + (ow - 1) * sw + 1, sw) if ow else slice(0, 0)
            yield i, j, rows, columns


def product(a, b):
    """a @ b over the last axis of a, as one matrix product."""
    return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[-1])


def output_shape(x, window, strides, padding, dilations):
    oh = output_size(x.shape[1], window[0], strides[0], padding[0], padding[1], dilations[0])
    return oh, output_size(x.shape[2], window[1], strides[1], padding[2], padding[3], dilations[1])


def crop(dpadded, padding, x):
    """The part of the padded image's gradient that belongs to the image."""
    top, left = padding[0], padding[2]
    return dpadded[:, top : top + x.shape[1], left : left + x.shape[2]]


def conv2d(x, w, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1), groups=1):
    """y[n, oh, ow, f] without bias and activation."""
    kh, kw, cg, f = w.shape
    fg = f // groups
    output = output_shape(x, (kh, kw), strides, padding, dilations)
    padded, y = pad(x, padding), np.zeros((x.shape[0], *output, f))
    for i, j, rows, columns in taps((kh, kw), strides, dilations, output):
        for g in range(groups):
            channels, filters = slice(g * cg, (g + 1) * cg), slice(g * fg, (g + 1) * fg)
            y[..., filters] += product(padded[:, rows, columns, channels], w[i, j, :, filters])
    return y


def conv2d_gradients(x, w, dz, strides, padding, dilations, groups):
    """(dw, dx) of sum(dz * conv2d(x, w))."""
    kh, kw, cg, f = w.shape
    fg = f // groups
    padded, dw = pad(x, padding), np.zeros(w.shape)
    dpadded = np.zeros(padded.shape)
    for i, j, rows, columns in taps((kh, kw), strides, dilations, dz.shape[1:3]):
        for g in range(groups):
            channels, filters = slice(g * cg, (g + 1) * cg), slice(g * fg, (g + 1) * fg)
            patch, gradient = padded[:, rows, columns, channels], dz[..., filters]
            dw[i, j, :, filters] = patch.reshape(-1, cg).T @ gradient.reshape(-1, fg)
            dpadded[:, rows, columns, channels] += product(gradient, w[i, j, :, filters].T)
    return dw, crop(dpadded, padding, x)


def depthwise_conv2d(x, w, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1)):
    """y[n, oh, ow, c * mult]: channel c times its own mult windows."""
    kh, kw, c, multiplier = w.shape
    output = output_shape(x, (kh, kw), strides, padding, dilations)
    padded, y = pad(x, padding), np.zeros((x.shape[0], *output, c, multiplier))
    for i, j, rows, columns in taps((kh, kw), strides, dilations, output):
        y += padded[:, rows, columns, :, None] * w[i, j]
    return y.reshape(x.shape[0], *output, c * multiplier)


def depthwise_conv2d_gradients(x, w, dz, strides, padding, dilations):
    kh, kw, c, multiplier = w.shape
    padded, dw = pad(x, padding), np.zeros(w.shape)
    dpadded = np.zeros(padded.shape)
    gradient = dz.reshape(*dz.shape[:3], c, multiplier)
    for i, j, rows, columns in taps((kh, kw), strides, dilations, dz.shape[1:3]):
        dw[i, j] = (padded[:, rows, columns, :, None] * gradient).sum(axis=(0, 1, 2))
        dpadded[:, rows, columns] += (gradient * w[i, j]).sum(axis=-1)
    return dw, crop(dpadded, padding, x)


def conv2d_forward(x, w, b, y, z, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1), groups=1,
                   activation="linear", alpha=0.0):  # fmt: skip
    pre = conv2d(x, w, strides, padding, dilations, groups) + (0 if b is None else b)
    return {"z": pre, "y": activate(pre, activation, alpha)}


def conv2d_backward(x, w, saved, dy, dz, dw, db, dx, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1), groups=1,
                    activation="linear", alpha=0.0, accumulate=False):  # fmt: skip
    gradient = dy if saved is None else dy * derivative(saved, activation, alpha)
    new_dw, new_dx = conv2d_gradients(x, w, gradient, strides, padding, dilations, groups)
    result = {"dz": gradient, "dw": new_dw, "db": gradient.sum(axis=(0, 1, 2)), "dx": new_dx}
    return accumulated(result, accumulate, dw=dw, db=db)


def depthwise_conv2d_forward(x, w, b, y, z, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1),
                             activation="linear", alpha=0.0):  # fmt: skip
    pre = depthwise_conv2d(x, w, strides, padding, dilations) + (0 if b is None else b)
    return {"z": pre, "y": activate(pre, activation, alpha)}


def depthwise_conv2d_backward(x, w, saved, dy, dz, dw, db, dx, strides=(1, 1), padding=(0, 0, 0, 0), dilations=(1, 1),
                              activation="linear", alpha=0.0, accumulate=False):  # fmt: skip
    gradient = dy if saved is None else dy * derivative(saved, activation, alpha)
    new_dw, new_dx = depthwise_conv2d_gradients(x, w, gradient, strides, padding, dilations)
    result = {"dz": gradient, "dw": new_dw, "db": gradient.sum(axis=(0, 1, 2)), "dx": new_dx}
    return accumulated(result, accumulate, dw=dw, db=db)
