"""Ranks with a GPU each, as processes: the emulator stands for the GPUs, NumPy's memory for theirs."""

from pathlib import Path

import numpy as np
from emulated_kernels import load
from rank_processes import Ranks

# What a script finds beside what rank_processes.py gives it: kernels, gpu(array) -> the array "on a GPU", and `of`.
ON_GPUS = """
sys.path.insert(0, os.environ["TESTS"])
from emulated_kernels import load, on_device as gpu
from device_ranks import array_of
from fastnn import _backend
from fastnn.distributed import device, device_ring, host_copies, nccl
kernels = load(os.environ.get("VARIANT", "plain"))
_backend.cuda_kernels = lambda *arguments, **named: kernels
device_ring._SLOT_BYTES = host_copies._ROOM = 1024
"""
DTYPES = ("float32", "float64", "float16", "int32", "int64")


def array_of(rank, count, dtype):
    """A rank's array: small numbers, so that sums fit every dtype."""
    numbers = np.random.default_rng(rank).normal(size=count) * 4
    return np.ascontiguousarray(np.round(numbers) if dtype.startswith("int") else numbers, dtype)


def device_ranks(folder, script, world, **options):
    """The running ranks of a job; the extension is built before they start."""
    load()
    env = {"TESTS": str(Path(__file__).parent), **options.pop("env", {})}
    return Ranks(folder, ON_GPUS + script, world, env=env, **options)


def run_on_gpus(folder, script, world, **options):
    """What the ranks of a job say, once all have ended well."""
    with device_ranks(folder, script, world, **options) as ranks:
        return ranks.results()
