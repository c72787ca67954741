"""The ranks that collectives.py and tcp.py time: of fastnn, of gloo (torch), of MPICH and of Open MPI (mpi4py).

Each rank waits, without a turn of the CPU, for sizes at a pipe of its own; then it times all-reduces of float32 arrays
of that many bytes, which it rewrites between two operations, as training does: what lies in a cache from the last time
would flatter all.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

OURS = ("mapped", "private", "ring")
MOST = 2000  # operations in a turn


@dataclass
class Setting:
    """How many ranks there are and where they run.

    Args:
        ranks: how many.
        seconds: what a turn takes at least.
        hosts: {rank: words before its command}; a rank without runs here.
        address: of the first rank's host; None if all run here.
        interface: of the network between the hosts.
    """

    ranks: int = 2
    seconds: float = 0.3
    hosts: dict[int, list[str]] = field(default_factory=dict)
    address: str | None = None
    interface: str | None = None


def add_arguments(parser, sizes):
    """The options that collectives.py and tcp.py share."""
    parser.add_argument("--sizes", type=int, nargs="*", default=sizes, help="bytes of the array of a rank")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--no-gloo", dest="gloo", action="store_false", help="leave torch out")
    parser.add_argument("--mpi", metavar="PYTHON", nargs="*", default=[sys.executable], help="with mpi4py and mpirun")


def save(file, ranks, seconds):
    """For scaling.py: {"ranks": ..., "cpus": ..., "seconds": {contender: {size: seconds}}}."""
    found = {"ranks": ranks, "cpus": len(os.sched_getaffinity(0)), "seconds": seconds}
    Path(file).write_text(json.dumps(found, indent=1))


def start_all(setting, names, pythons):
    """{name: Job} of all contenders that are installed; a line for each that isn't."""
    jobs = {name: job for name in names if (job := _start(name, setting)) is not None}
    jobs.update(started for python in pythons if (started := _start_mpi(python, setting)) is not None)
    return jobs


def take_turns(jobs, sizes, repeats, limits):
    """{contender: {size: median seconds of an operation}}, with those of `limits`: {name: function of a size}."""
    turns = {name: {size: [] for size in sizes} for name in (*jobs, *limits)}
    try:
        for size in sizes:
            for _ in range(repeats):
                for name, limit in limits.items():
                    turns[name][size].append(limit(size))
                for name, job in jobs.items():
                    turns[name][size].append(job.time(size))
    finally:
        for job in jobs.values():
            job.end()
    return {name: {size: statistics.median(times) for size, times in found.items()} for name, found in turns.items()}


class Job:
    """The ranks of one contender. Pipes have the ranks' numbers as names; rank 0 answers at its standard output.

    Args:
        commands: [(command, environment)] that start the ranks, rank 0's first.
        ranks: how many there are; one command may start several.
    """

    def __init__(self, commands, ranks):
        self.folder = tempfile.TemporaryDirectory()
        for rank in range(ranks):
            os.mkfifo(Path(self.folder.name) / str(rank))
        pipe = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True}
        place = {"FASTNN_BENCH_PIPES": self.folder.name}
        self.processes = [subprocess.Popen(command, env={**env, **place}, **pipe) for command, env in commands]
        self.pipes = [self._open(Path(self.folder.name) / str(rank)) for rank in range(ranks)]

    def _open(self, pipe):
        """The pipe, once its rank has opened it, too: a rank that has ended never does."""
        while True:
            try:
                return os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "w")
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            if any(process.poll() is not None for process in self.processes):
                self._give_up()
            time.sleep(0.01)

    def _give_up(self):
        for process in self.processes:
            process.kill()
        raise SystemExit(f"{Path(sys.argv[0]).name}: a rank ended: {self.processes[0].args}")

    def time(self, size):
        """Seconds of an all-reduce of arrays of this many bytes, of the slowest rank."""
        for pipe in self.pipes:
            pipe.write(f"{size}\n")
            pipe.flush()
        answer = self.processes[0].stdout.readline()
        if not answer:
            self._give_up()
        return float(answer)

    def end(self):
        for pipe in self.pipes:
            pipe.close()
        for process in self.processes:
            process.wait()
        self.folder.cleanup()


def _start(name, setting):
    """The ranks of fastnn or gloo."""
    module = "torch" if name == "gloo" else "fastnn"
    if subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode != 0:
        print(f"{name}: left out: no module {module}")
        return None
    place = {"MASTER_ADDR": f"unix:fastnn-bench-{uuid.uuid4().hex}", "FASTNN_SECRET": uuid.uuid4().hex}
    if setting.address is not None:
        place |= {"MASTER_ADDR": setting.address, "MASTER_PORT": "29500"}
    if name == "gloo":
        place = {"MASTER_ADDR": setting.address or "127.0.0.1", "MASTER_PORT": "29501"}
        place |= {"GLOO_SOCKET_IFNAME": setting.interface or "lo"}
    commands = []
    for rank in range(setting.ranks):
        env = {"RANK": str(rank), "WORLD_SIZE": str(setting.ranks), "OMP_NUM_THREADS": "1", **place}
        commands.append(([*setting.hosts.get(rank, []), *_command(name, setting)], {**os.environ, **env}))
    return Job(commands, setting.ranks)


def _start_mpi(python, setting):
    """("mpich" or "openmpi", the ranks) of an interpreter's MPI."""
    asked = "from mpi4py import MPI; print(MPI.Get_library_version().split()[0])"
    found = subprocess.run([python, "-c", asked], capture_output=True, text=True)
    mpirun = shutil.which("mpirun", path=str(Path(python).parent)) or shutil.which("mpirun")
    if found.returncode != 0 or mpirun is None:
        print(f"mpi: left out: {python} has no " + ("mpi4py" if mpirun else "mpirun"))
        return None
    name = found.stdout.strip().lower().rstrip(":")
    name = "openmpi" if name == "open" else name
    env = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    options = ["--oversubscribe", "--bind-to", "none"] if name == "openmpi" else []
    command = _command("mpi", setting, python)
    if setting.interface is None:
        return name, Job([([mpirun, *options, "-n", str(setting.ranks), *command], env)], setting.ranks)
    env |= {"MPIR_CVAR_NOLOCAL": "1", "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": setting.interface}  # no shared memory
    if name == "openmpi":
        options += ["--mca", "pml", "ob1", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", setting.interface]
        # On the first host, and listening at that network: the ranks of the others reach it there alone.
        mpirun = [*setting.hosts.get(0, []), mpirun]
        options += ["--pmixmca", "ptl_base_if_include", setting.interface]
        options += ["--pmixmca", "ptl_base_remote_connections", "1"]
    else:
        mpirun = [mpirun]
    each = [["-n", "1", *setting.hosts.get(rank, []), *command] for rank in range(setting.ranks)]
    parts = [word for words in each for word in (":", *words)][1:]
    return name, Job([([*mpirun, *options, *parts], env)], setting.ranks)


def _command(name, setting, python=sys.executable):
    return [python, __file__, name, "--seconds", str(setting.seconds)]


def serve(name, seconds):
    """A rank: times operations of the sizes that it reads."""
    rank, make, barrier, agree = {"gloo": _gloo, "mpi": _mpi}.get(name, _ours)(name)
    for line in open(Path(os.environ["FASTNN_BENCH_PIPES"]) / str(rank)):
        size = int(line)
        array, operation = make(size)
        count = int(min(MOST, agree(max(1, seconds / max(_once(array, operation, barrier), 1e-6)))))
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


def _once(array, operation, barrier):
    array[...] = 1.0
    operation()
    barrier()
    begin = time.perf_counter()
    operation()
    return time.perf_counter() - begin


def _ours(name):
    """fastnn: arrays that the ranks share, private ones, or a ring over private ones."""
    from fastnn import distributed

    comm = distributed.init()

    def make(size):
        array = comm.empty(size // 4) if name == "mapped" else np.zeros(size // 4, np.float32)
        if name == "ring":
            return array, lambda: comm.all_reduce(array, algorithm="ring")
        return array, lambda: comm.all_reduce(array)

    def agree(number):
        shared = np.array([number], np.float64)
        comm.all_reduce(shared, "max")
        return shared[0]

    return comm.rank, make, comm.barrier, agree


def _gloo(name):
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


def _mpi(name):
    """Whatever MPI mpi4py was built for."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD

    def make(size):
        array = np.zeros(size // 4, np.float32)
        return array, lambda: comm.Allreduce(MPI.IN_PLACE, array)

    return comm.rank, make, comm.Barrier, lambda number: comm.allreduce(number, MPI.MAX)


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("contender", choices=(*OURS, "gloo", "mpi"))
    asked.add_argument("--seconds", type=float, default=0.3)
    given = asked.parse_args()
    serve(given.contender, given.seconds)
