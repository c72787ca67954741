"""The data that every contender is given: the same arrays, made with NumPy from a fixed seed."""

import gzip
import math
import os
from pathlib import Path

import numpy as np

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")


def mlp_data(samples, features=1000, classes=10):
    """Features of the seed MLP (float32) and labels (int32)."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((samples, features), np.float32), rng.integers(0, classes, samples, np.int32)


def cnn_data(samples):
    """Fashion-MNIST's training images as float32 n x 28 x 28 x 1 in [0, 1] and labels; noise if there are none."""
    rng = np.random.default_rng(0)
    if FASHION_MNIST.exists():
        raw = gzip.decompress(FASHION_MNIST.read_bytes())
        images = np.frombuffer(raw, np.uint8, samples * 784, 16).reshape(samples, 28, 28, 1)
        raw = gzip.decompress(Path(str(FASHION_MNIST).replace("images-idx3", "labels-idx1")).read_bytes())
        labels = np.frombuffer(raw, np.uint8, samples, 8).astype(np.int32)
        return np.divide(images, 255, dtype=np.float32), labels
    return rng.random((samples, 28, 28, 1), np.float32), rng.integers(0, 10, samples, np.int32)


def gemm_data(m, k, n, transpose_a, transpose_b):
    """The two factors as they are stored: `a` is k x m if transposed, `b` n x k."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((k, m) if transpose_a else (m, k), np.float32)
    b = rng.standard_normal((n, k) if transpose_b else (k, n), np.float32)
    return a, b


def conv_data(n, size, channels, filters, kernel):
    """x in NHWC, w as (kernel, kernel, channels, filters), dy in NHWC; stride 1, same padding, kernel odd."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, size, size, channels), np.float32)
    w = rng.standard_normal((kernel, kernel, channels, filters), np.float32)
    dy = rng.standard_normal((n, size, size, filters), np.float32)
    return x, w, dy


def optimizer_data(shapes):
    """Parameters and gradients, lists of float32 arrays of these shapes."""
    rng = np.random.default_rng(0)
    params, grads = ([rng.standard_normal(shape, np.float32) for shape in shapes] for _ in range(2))
    return params, grads


def count(shapes):
    """The elements of arrays of these shapes."""
    return sum(map(math.prod, shapes))


def threads():
    """How many threads a contender is to use."""
    return int(os.environ["BENCH_THREADS"])
