"""A convolution whose output is pooled."""

import numpy as np

from .conv import conv2d_backward, conv2d_forward, output_shape
from .pool import max_pool2d_backward, max_pool2d_forward


def conv2d_max_pool2d_forward(x, w, b, y, index, strides, padding, dilations, groups, activation, window, pool_strides,
                              pool_padding):  # fmt: skip
    image = conv2d_forward(x, w, b, None, None, strides, padding, dilations, groups, activation)["y"]
    return max_pool2d_forward(image, y, index, window, pool_strides, pool_padding)


def conv2d_max_pool2d_backward(x, w, y, index, dy, dw, db, dx, strides, padding, dilations, groups, activation, window,
                               pool_strides, pool_padding, accumulate=False):  # fmt: skip
    output = output_shape(x, w.shape[:2], strides, padding, dilations)
    routed = dy * (y > 0) if activation == "relu" else dy
    image = np.zeros((x.shape[0], *output, w.shape[3]))
    dz = max_pool2d_backward(routed, index, image, window, pool_strides, pool_padding)["dx"]
    return conv2d_backward(x, w, None, dz, None, dw, db, dx, strides, padding, dilations, groups, accumulate=accumulate)
