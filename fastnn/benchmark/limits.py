"""What this machine can do at best with the threads in use: arithmetic, and moving bytes that lie near or far."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastnn import _backend
from fastnn.benchmark.timing import total_seconds

# Bytes that the measuring loops touch: some fit into a core's own cache, some into a shared one, some into none.
FOOTPRINTS = tuple(kilobytes << 10 for kilobytes in (256, 1024, 4096, 16384, 65536, 262144))
_REPEATS = 5
_WARM_UP = 50_000_000  # rounds, about a third of a second: the system may first have put two threads on one core


@dataclass(frozen=True)
class Limits:
    """Measured rates. A copied or scaled float counts as 8 bytes, one read and one written.

    Args:
        threads: how many worked.
        flops: fused multiply-adds in registers, as 2 operations each, a second.
        copy: footprint in bytes -> bytes a second of y = x.
        scale: footprint in bytes -> bytes a second of x *= a.
    """

    threads: int
    flops: float
    copy: dict[int, float]
    scale: dict[int, float]

    def bandwidth(self, footprint: float) -> float:
        """The better of copy and scale, read off between the two measured footprints around `footprint` bytes."""
        sizes = sorted(self.copy)
        best = [max(self.copy[size], self.scale[size]) for size in sizes]
        return float(np.interp(np.log(max(footprint, 1.0)), np.log(sizes), best))

    def share(self, seconds: float, flops: float, moved: float, footprint: float) -> float:
        """Returns the least time that the machine needs for the arithmetic and for the bytes, over `seconds`."""
        return self.least_seconds(flops, moved, footprint) / seconds

    def least_seconds(self, flops: float, moved: float, footprint: float) -> float:
        return max(flops / self.flops, moved / self.bandwidth(footprint))


@functools.cache
def measure(threads: int | None = None, seconds: float = 0.1) -> Limits:
    """Measures for about three seconds, once in a process for each number of threads.

    Args:
        threads: how many; None takes as many as the kernels use, otherwise it becomes what they use.
        seconds: how long to look at one limit.
    """
    if threads is not None:
        _backend.set_num_threads(threads)
    threads = _backend.get_num_threads()
    loops = _backend.kernels.limits
    sums = _backend.empty(threads)
    loops.multiply_add_loop(sums, _WARM_UP)
    flops = _rate(lambda rounds: loops.multiply_add_loop(sums, rounds), loops.multiply_add_loop(sums, 1), seconds)
    copy, scale = {}, {}
    for footprint in FOOTPRINTS:
        x = _backend.zeros(footprint // 4)
        half = len(x) // 2
        source, target = x[:half], x[half:]
        copy[footprint] = _rate(functools.partial(loops.copy_loop, source, target), footprint, seconds)
        scale[footprint] = _rate(functools.partial(loops.scale_loop, x, 1.0), 2 * footprint, seconds)
    return Limits(threads, flops, copy, scale)


def _rate(loop: Callable[[int], Any], amount: float, seconds: float) -> float:
    """`amount` a round over the seconds of a round, at best: what disturbs a try makes it slower, never faster."""
    trial = 4
    once = min(total_seconds(lambda: loop(trial), 1) for _ in range(3)) / trial
    rounds = max(1, round(seconds / _REPEATS / once))
    return amount / min(total_seconds(lambda: loop(rounds), 1) / rounds for _ in range(_REPEATS))


def lines(limits: Limits) -> list[str]:
    """The limits in words, for the top of a table."""
    far = max(limits.copy)
    text = [
        f"limits with {limits.threads} thread{'s' if limits.threads != 1 else ''}: "
        f"{limits.flops / 1e9:.0f} GFLOP/s of multiply-add, memory: copy {limits.copy[far] / 1e9:.1f} GB/s, "
        f"in-place scale {limits.scale[far] / 1e9:.1f} GB/s"
    ]
    near = [f"{size >> 10} KB {limits.bandwidth(size) / 1e9:.0f}" for size in sorted(limits.copy)[:-1]]
    return [*text, f"in cache, GB/s at a footprint of: {', '.join(near)}"]
