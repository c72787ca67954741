"""The kernels at the sizes of real networks: what `fastnn bench` times. tests/cases.py has every kernel there is."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import _backend
from fastnn.benchmark import table

Call = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """A kernel call to time.

    Args:
        name: kernel and sizes.
        make: returns the call; it takes the kernel module.
        flops: its operations.
        moved: the bytes it must read and write at least.
        footprint: the bytes it touches, less than `moved` if some are both read and written.
    """

    name: str
    make: Callable[[Any], Call]
    flops: float
    moved: float
    footprint: float


def rows(pattern: str = "") -> list[Row]:
    """The rows whose name contains every word of `pattern`."""
    return [row for row in _ROWS if table.matches(row.name, pattern)]


def _array(*shape: int) -> np.ndarray:
    array = _backend.empty(shape)
    array[...] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return array


def _gemm(m: int, k: int, n: int, transpose_a: bool = False, transpose_b: bool = False) -> Row:
    def make(kernels: Any) -> Call:
        a, b = _array(*((k, m) if transpose_a else (m, k))), _array(*((n, k) if transpose_b else (k, n)))
        c = _array(m, n)
        return lambda: kernels.gemm(a, b, c, transpose_a, transpose_b)

    form = "NT"[transpose_a] + "NT"[transpose_b]
    moved = 4.0 * (m * k + k * n + m * n)
    return Row(f"gemm {m}x{k}x{n} {form}", make, 2.0 * m * k * n, moved, moved)


def _dense(direction: str, n: int, inputs: int, outputs: int) -> Row:
    def make(kernels: Any) -> Call:
        x, w, b = _array(n, inputs), _array(inputs, outputs), _array(outputs)
        y, dy = _array(n, outputs), _array(n, outputs)
        relu = kernels.ACTIVATIONS["relu"]
        if direction == "forward":
            return lambda: kernels.dense_forward(x, w, b, y, None, relu, 0.0)
        dw, db, dx = _array(inputs, outputs), _array(outputs), _array(n, inputs)
        return lambda: kernels.dense_backward(x, w, y, dy, dy, dw, db, dx, relu, 0.0, False)

    passes = 1 if direction == "forward" else 2
    moved = 4.0 * passes * (n * inputs + inputs * outputs + n * outputs)
    return Row(f"dense {n}x{inputs}x{outputs} {direction}", make, 2.0 * passes * n * inputs * outputs, moved, moved)


def _conv(direction: str, n: int, size: int, channels: int, filters: int, window: int, depthwise: bool = False) -> Row:
    weights = (window, window, channels, 1 if depthwise else filters)

    def make(kernels: Any) -> Call:
        x, w, y = _array(n, size, size, channels), _array(*weights), _array(n, size, size, filters)
        options = {"strides": (1, 1), "padding": (window // 2,) * 4, "dilations": (1, 1), "activation": 0, "alpha": 0.0}
        options |= {} if depthwise else {"groups": 1}
        kind = "depthwise_conv2d" if depthwise else "conv2d"
        if direction == "forward":
            forward, b = getattr(kernels, f"{kind}_forward"), _array(filters)
            return lambda: forward(x, w, b, y, None, **options)
        backward = getattr(kernels, f"{kind}_backward")
        dw, dx = _array(*weights) if direction == "dw" else None, _array(*x.shape) if direction == "dx" else None
        return lambda: backward(x, w, None, y, y, dw, None, dx, accumulate=False, **options)

    pixels = n * size * size
    moved = 4.0 * (pixels * (channels + filters) + math.prod(weights))
    kind = f"depthwise conv {channels}" if depthwise else f"conv {channels} to {filters}"
    flops = 2.0 * pixels * math.prod(weights)
    return Row(f"{kind} {window}x{window} at {n}x{size}x{size} {direction}", make, flops, moved, moved)


def _pool(kind: str, direction: str, n: int, size: int, channels: int) -> Row:
    def make(kernels: Any) -> Call:
        x, y = _array(n, size, size, channels), _array(n, size // 2, size // 2, channels)
        index, place = np.zeros(y.shape, np.uint8), ((2, 2), (2, 2), (0, 0, 0, 0))
        function = getattr(kernels, f"{kind}_pool2d_{direction}")
        if direction == "forward":
            return lambda: function(x, y, *((index,) if kind == "max" else ()), *place)
        return lambda: function(y, *((index,) if kind == "max" else ()), x, *place)

    pixels = n * size * size * channels
    moved = 4.0 * 1.25 * pixels + (pixels / 4 if kind == "max" else 0)
    return Row(f"{kind} pool 2x2 {n}x{size}x{size}x{channels} {direction}", make, pixels, moved, moved)


def _activation(name: str, direction: str, count: int) -> Row:
    def make(kernels: Any) -> Call:
        kind, saved, x, y = kernels.ACTIVATIONS[name], _array(count), _array(count), _array(count)
        if direction == "forward":
            return lambda: kernels.activation_forward(x, y, kind)
        return lambda: kernels.activation_backward(saved, x, y, kind)

    moved = 4.0 * count * (2 if direction == "forward" else 3)
    return Row(f"{name} {count} {direction}", make, count, moved, moved)


def _softmax(n: int, c: int) -> Row:
    def make(kernels: Any) -> Call:
        x, y = _array(n, c), _array(n, c)
        return lambda: kernels.softmax_forward(x, y)

    return Row(f"softmax {n}x{c}", make, 5.0 * n * c, 8.0 * n * c, 8.0 * n * c)


def _cross_entropy(n: int, c: int) -> Row:
    def make(kernels: Any) -> Call:
        logits, dlogits, loss = _array(n, c), _array(n, c), np.zeros(1)
        labels = np.arange(n, dtype=np.int32) % c
        return lambda: kernels.sparse_softmax_cross_entropy(logits, labels, None, dlogits, loss, 1.0)

    return Row(f"softmax + cross-entropy {n}x{c}", make, 8.0 * n * c, 8.0 * n * c, 8.0 * n * c)


def _dropout(count: int) -> Row:
    def make(kernels: Any) -> Call:
        x, y, state = _array(count), _array(count), np.zeros(2, np.uint64)
        return lambda: kernels.dropout(x, y, 0.5, state)

    return Row(f"dropout {count}", make, count, 8.0 * count, 8.0 * count)


def _optimizer(name: str, rule: str, slots: int, tensors: int, elements: int, **options: Any) -> Row:
    def make(kernels: Any) -> Call:
        params, grads = ([_array(elements) for _ in range(tensors)] for _ in range(2))
        states = [[_backend.zeros(elements) for _ in range(tensors)] for _ in range(slots)]
        table, lr, step = kernels.TensorTable(params, grads, states), np.array([1e-3]), np.array([10])
        made = getattr(kernels, rule)(**options)
        return lambda: kernels.update(made, table, lr, step)

    count = float(tensors * elements)
    moved, footprint = 4 * count * (3 + 2 * slots), 4 * count * (2 + slots)
    return Row(f"{name} {tensors} x {elements}", make, 6 * (1 + slots) * count, moved, footprint)


def _gather(count: int, columns: int) -> Row:
    def make(kernels: Any) -> Call:
        x, out = _array(8 * count, columns), _array(count, columns)
        index = np.random.default_rng(0).permutation(len(x))[:count]
        return lambda: kernels.gather_rows(x, index, out)

    moved = 8.0 * count * columns
    return Row(f"gather rows {count}x{columns}", make, 0.0, moved, 4.5 * moved)


_WAYS = ("forward", "dx", "dw")
_CONVS = ((14, 32, 64, 3), (14, 64, 64, 3), (28, 32, 64, 3), (14, 256, 64, 1))
_ACTIVATIONS = ("relu", "elu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")
_OPTIMIZERS: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    ("SGD", "sgd_rule", 0, {}),
    ("SGD momentum", "sgd_rule", 1, {"momentum": 0.9}),
    ("Adam", "adam_rule", 2, {}),
    ("AdamW", "adam_rule", 2, {"weight_decay": 0.01, "decoupled": True}),
    ("RMSprop", "rmsprop_rule", 1, {}),
)
_ROWS = [
    *[_gemm(*sizes) for sizes in ((32, 1000, 128), (128, 128, 128), (512, 512, 512), (2048, 2048, 2048))],
    *[_gemm(1000, 32, 128, transpose_a=True), _gemm(32, 128, 1000, transpose_b=True), _gemm(100352, 9, 32)],
    *[_dense(way, *s) for s in ((32, 1000, 128), (128, 3136, 128), (128, 128, 10)) for way in ("forward", "backward")],
    _conv("forward", 128, 28, 1, 32, 3),
    _conv("dw", 128, 28, 1, 32, 3),
    *[_conv(way, 128, *sizes) for sizes in _CONVS for way in _WAYS],
    *[_conv(way, 64, 28, 64, 64, 3, depthwise=True) for way in _WAYS],
    *[_pool(kind, way, 128, 28, 32) for kind in ("max", "average") for way in ("forward", "backward")],
    *[_activation(kind, "forward", 1 << 20) for kind in _ACTIVATIONS],
    *[_activation(kind, "backward", 1 << 20) for kind in ("relu", "gelu", "silu", "tanh")],
    _softmax(128, 1000),
    *[_cross_entropy(n, c) for n, c in ((32, 10), (4096, 10), (128, 1000))],
    _dropout(1 << 20),
    *[_optimizer(*entry[:3], 1, 137_000, **entry[3]) for entry in _OPTIMIZERS],
    *[_optimizer(*entry[:3], 1, 25_000_000, **entry[3]) for entry in _OPTIMIZERS],
    _optimizer("AdamW", "adam_rule", 2, 1000, 1000, weight_decay=0.01, decoupled=True),
    _gather(1024, 784),
]
