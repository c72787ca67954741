"""The jobs that fastnn and its peers all do: two networks, matrix products, convolutions, optimizer steps."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Contest:
    """One job that all contenders do.

    Args:
        name: what it is called in the table.
        task: the task in the peers' scripts.
        parameters: what the task's builder is given.
        amount: how much one run does, in `unit` times seconds.
        unit: "samples/s", "GFLOP/s" or "GB/s".
        flops, moved: operations and bytes that one run needs at least; both bound it.
        footprint: bytes it touches.
    """

    name: str
    task: str
    parameters: dict[str, Any]
    amount: float
    unit: str
    flops: float
    moved: float = 0.0
    footprint: float = 0.0


def _mlp(batch: int, samples: int, sizes: tuple[int, ...], name: str) -> Contest:
    layers = [2.0 * inputs * outputs for inputs, outputs in pairwise(sizes)]
    parameters = {"batch": batch, "samples": samples, "sizes": sizes}
    return Contest(f"{name}, batch {batch}", "mlp", parameters, samples, "samples/s", samples * _training_flops(layers))


def _cnn(batch: int, samples: int) -> Contest:
    convs = [2.0 * 28 * 28 * 9 * 1 * 32, 2.0 * 14 * 14 * 9 * 32 * 64]
    flops = samples * _training_flops([*convs, 2.0 * 3136 * 128, 2.0 * 128 * 10])
    return Contest(f"CNN, batch {batch}", "cnn", {"batch": batch, "samples": samples}, samples, "samples/s", flops)


def _training_flops(layers: list[float]) -> float:
    """Forward, weight gradient and input gradient of every layer; the first one's input needs no gradient."""
    return 3 * sum(layers) - layers[0]


def _gemm(m: int, k: int, n: int, form: str = "NN") -> Contest:
    parameters = {"m": m, "k": k, "n": n, "transpose_a": form[0] == "T", "transpose_b": form[1] == "T"}
    flops, moved = 2.0 * m * k * n, 4.0 * (m * k + k * n + m * n)
    return Contest(f"GEMM {m}x{k}x{n} {form}", "gemm", parameters, flops / 1e9, "GFLOP/s", flops, moved, moved)


def _conv(direction: str, size: int, channels: int, filters: int, kernel: int, n: int = 128) -> Contest:
    parameters = {"direction": direction, "n": n, "size": size, "channels": channels, "filters": filters}
    pixels, weights = n * size * size, kernel * kernel * channels * filters
    flops, moved = 2.0 * pixels * weights, 4.0 * (pixels * (channels + filters) + weights)
    name = f"conv {kernel}x{kernel} {channels} to {filters} at {size}x{size} {direction}"
    parameters["kernel"] = kernel
    return Contest(name, "conv", parameters, flops / 1e9, "GFLOP/s", flops, moved, moved)


def _adamw(tensors: int, elements: int) -> Contest:
    count = tensors * elements
    name = f"AdamW {tensors} x {elements}"
    parameters = {"tensors": tensors, "elements": elements}
    return Contest(name, "adamw", parameters, 28e-9 * count, "GB/s", 12.0 * count, 28.0 * count, 16.0 * count)


_CONVS = ((14, 64, 64, 3), (28, 32, 64, 3), (14, 256, 64, 1))
CONTESTS = (
    _mlp(32, 20000, (1000, 128, 64, 10), "seed MLP"),
    _cnn(128, 6400),
    *[_gemm(32, 1000, 128, form) for form in ("NN", "TN", "NT")],
    *[_gemm(1000, 32, 128, form) for form in ("NN", "TN", "NT")],
    *[_gemm(size, size, size) for size in (128, 512, 2048)],
    _gemm(100352, 9, 32),
    *[_conv(direction, *shape) for shape in _CONVS for direction in ("forward", "dx", "dw")],
    _adamw(1, 25_000_000),
    _adamw(1000, 1000),
    _adamw(1, 1000),
)
