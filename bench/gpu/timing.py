"""How long work on the GPU takes, and what the card can do at most."""

import statistics
import time
from functools import partial

import torch

REPEATS, WARM_UP = 20, 3
FLUSHED = 512 << 20  # bytes: more than the caches, and enough time to enqueue a call


def flush_buffer():
    """What `seconds` writes over before each call."""
    return torch.empty(FLUSHED // 4, device="cuda")


def seconds(call, flush):
    """The median time of a call on the GPU, by its events; the time of Python doesn't count, while `flush` runs."""
    times = []
    for repeat in range(WARM_UP + REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        if repeat >= WARM_UP:
            times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def wall_seconds(call, repeats=50):
    """The time of a call as a program sees it: the median of five rounds of some calls each."""
    rounds = []
    for _ in range(6):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - start) / repeats)
    return statistics.median(rounds[1:])


def limits(flush):
    """What the card can do: bytes a second of copying, flops of torch's float32 product."""
    source = torch.empty(1 << 28, device="cuda")
    copied = 2 * source.nbytes / seconds(partial(torch.empty_like(source).copy_, source), flush)
    a, b = (torch.randn(4096, 4096, device="cuda") for _ in range(2))
    out = torch.empty_like(a)
    return {"what": "limits", "copy": copied, "fp32": 2 * 4096**3 / seconds(lambda: torch.mm(a, b, out=out), flush)}
