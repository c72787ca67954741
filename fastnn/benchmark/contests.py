"""The jobs that fastnn and its peers all do: networks, matrix products, convolutions, optimizer steps."""

from itertools import pairwise

from fastnn.benchmark import table
from fastnn.benchmark.job import Contest
from fastnn.benchmark.optimizer_contests import STEP_CONTESTS, trained_by_torch

__all__ = ["CONTESTS", "Contest", "cnn", "mlp", "select"]

_SEED_MLP = (1000, 128, 64, 10)
_CNN = (  # operations of each layer for a sample, and weights
    [2.0 * 28 * 28 * 9 * 1 * 32, 2.0 * 14 * 14 * 9 * 32 * 64, 2.0 * 3136 * 128, 2.0 * 128 * 10],
    9 * 32 + 32 + 9 * 32 * 64 + 64 + 3136 * 128 + 128 + 128 * 10 + 10,
)


def mlp(batch: int, samples: int, sizes: tuple[int, ...] = _SEED_MLP, name: str = "seed MLP") -> Contest:
    """An epoch of training; the smaller the batch the fewer samples, so that a turn of no peer gets long."""
    layers, weights = _dense_layers(sizes)
    parameters = {"batch": batch, "samples": samples, "sizes": sizes}
    steps = samples // batch
    work = _training(samples, steps, layers, weights, sizes[0])
    return Contest(f"{name}, batch {batch}", "mlp", parameters, samples, "samples/s", *work, steps, "networks")


def cnn(batch: int, samples: int) -> Contest:
    parameters = {"batch": batch, "samples": samples}
    work = _training(samples, samples // batch, *_CNN, 28 * 28)
    return Contest(f"CNN, batch {batch}", "cnn", parameters, samples, "samples/s", *work, samples // batch, "networks")


def _predict_one() -> Contest:
    layers, weights = _dense_layers(_SEED_MLP)
    name, parameters = "seed MLP predict, batch 1", {"sizes": _SEED_MLP}
    work = sum(layers), 4.0 * weights, 4.0 * weights
    return Contest(name, "predict_mlp", parameters, 1, "calls/s", *work, 1, "networks")


def _predict_cnn(batch: int, samples: int) -> Contest:
    layers, weights = _CNN
    name, parameters = f"CNN predict, batch {batch}", {"batch": batch, "samples": samples}
    moved = 4.0 * samples * 28 * 28
    return Contest(
        name, "predict_cnn", parameters, samples, "samples/s", samples * sum(layers), moved, moved, samples // batch,
        "networks",
    )  # fmt: skip


def _dense_layers(sizes: tuple[int, ...]) -> tuple[list[float], int]:
    """The operations that each layer needs for a sample, and how many weights there are."""
    layers = [2.0 * inputs * outputs for inputs, outputs in pairwise(sizes)]
    return layers, sum(inputs * outputs + outputs for inputs, outputs in pairwise(sizes))


def _training(samples: int, steps: int, layers: list[float], weights: int, features: int) -> tuple[float, float, float]:
    """Operations, bytes and footprint of an epoch with Adam.

    Forward, weight gradient and input gradient of every layer; the first one's input needs no gradient. A step reads
    the weights forward and once more backward, where it updates them: 28 bytes a weight if no gradient is ever stored.
    """
    flops = samples * (3 * sum(layers) - layers[0]) + 12.0 * steps * weights
    return flops, 28.0 * steps * weights + 4.0 * samples * features, 12.0 * weights


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


_CONVS = ((14, 64, 64, 3), (28, 32, 64, 3), (14, 256, 64, 1))
CONTESTS = (
    *[mlp(batch, samples) for batch, samples in ((1, 512), (8, 4096), (32, 20000), (256, 20480), (2048, 20480))],
    mlp(16, 10240, (4, 16, 3), "tiny MLP 4-16-3"),
    cnn(128, 6400),
    _predict_one(),
    _predict_cnn(128, 2560),
    *[_gemm(32, 1000, 128, form) for form in ("NN", "TN", "NT")],
    *[_gemm(1000, 32, 128, form) for form in ("NN", "TN", "NT")],
    *[_gemm(size, size, size) for size in (128, 512, 2048)],
    _gemm(100352, 9, 32),
    *[_conv(direction, *shape) for shape in _CONVS for direction in ("forward", "dx", "dw")],
    *STEP_CONTESTS,
    trained_by_torch(mlp(32, 20000)),
    trained_by_torch(cnn(128, 6400)),
)


def select(pattern: str = "") -> list[Contest]:
    """The contest that has this name, or else those whose name contains every word of `pattern`."""
    exact = [contest for contest in CONTESTS if contest.name == pattern]
    return exact or [contest for contest in CONTESTS if table.matches(contest.name, pattern)]
