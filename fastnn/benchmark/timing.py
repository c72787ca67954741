"""Timing of calls that take from microseconds to seconds."""

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any


def median_seconds(call: Callable[[], Any], seconds: float = 0.2, repeats: int = 5) -> float:
    """Returns how long one call takes: the median of several means.

    Args:
        call: what to time; it is run once before, so that what happens only once doesn't count.
        seconds: how long all of the measuring should take about, at least.
        repeats: how many means to take.
    """
    call()
    once = total_seconds(call, 1)
    count = max(1, round(seconds / repeats / max(once, 1e-9)))
    return statistics.median(total_seconds(call, count) / count for _ in range(repeats))


def total_seconds(call: Callable[[], Any], count: int) -> float:
    """The seconds that `count` calls take; the clock is read twice."""
    rounds = range(count)
    start = perf_counter()
    for _ in rounds:
        call()
    return perf_counter() - start
