"""Optimizer steps over the parameters of real networks, and networks of torch that train with another optimizer.

fastnn takes part through each of its ways in: `fastnn.functional` on NumPy arrays, `fastnn.torch`, `fastnn.jax`.
"""

import math
from dataclasses import dataclass

from fastnn.benchmark.job import Contest
from fastnn.benchmark.shapes import NETWORKS

_LARGE = 1 << 30  # bytes; ten contenders of a job that touches more don't fit into memory at once
_SLOW = ("foreach", "single", "by hand")


@dataclass(frozen=True)
class Step:
    """An optimizer and how it stores things.

    Args:
        name: as in the contest's name; "" after the rule means fp32 throughout.
        moved: bytes of an element that a step must read and write.
        kept: bytes of an element that it touches.
        flops: of an element, roughly: it's bound by memory.
    """

    name: str
    moved: float
    kept: float
    flops: float


# Blocks of 256 elements of an 8-bit state share a scale in float32.
_SCALE = 4 / 256
STEPS = {
    "adamw": Step("AdamW", 28, 16, 12),
    "rmsprop": Step("RMSprop", 20, 12, 8),
    "rmsprop_centered": Step("RMSprop centered, momentum", 36, 20, 13),
    "sgd_momentum": Step("SGD momentum", 20, 12, 4),
    "adamw_bf16": Step("AdamW all bf16", 14, 8, 12),
    "adamw_remainder": Step("AdamW bf16 params, fp32 states, remainder", 26, 14, 12),
    "adamw_8bit": Step("AdamW 8-bit states", 16 + 4 * _SCALE, 10 + 2 * _SCALE, 12),
}
RUNS = {
    "adamw": ("25M", "ResNet-50", "BERT-base", "1000 x 1000", "1 x 1000"),
    "rmsprop": ("25M", "ResNet-50"),
    "rmsprop_centered": ("25M", "ResNet-50"),
    "sgd_momentum": ("ResNet-50",),
    "adamw_bf16": ("ResNet-50", "BERT-base"),
    "adamw_remainder": ("ResNet-50",),
    "adamw_8bit": ("ResNet-50",),
}


def optimizer_step(task: str, network: str) -> Contest:
    """One step; GB/s counts the bytes that this way of storing needs, for every contender."""
    step, shapes = STEPS[task], NETWORKS[network]()
    count = sum(map(math.prod, shapes))
    moved, footprint = step.moved * count, step.kept * count
    return Contest(
        f"{step.name}, {network}", task, {"shapes": shapes}, 1e-9 * moved, "GB/s", step.flops * count, moved, footprint,
        kind="optimizers", left_out=_SLOW if footprint > _LARGE else (),
    )  # fmt: skip


def trained_by_torch(network: Contest) -> Contest:
    """The network in torch, forward and backward pass its own, with torch's Adam or another one."""
    name = f"torch {network.name.removeprefix('seed ')}"
    return Contest(
        name, f"torch_{network.task}", network.parameters, network.amount, network.unit, network.flops, network.moved,
        network.footprint, network.steps, kind="torch",
    )  # fmt: skip


STEP_CONTESTS = tuple(optimizer_step(task, network) for task, networks in RUNS.items() for network in networks)
