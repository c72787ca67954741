"""Ranks as processes that have a GPU each, for which the emulator stands, or that share a real one."""

from pathlib import Path

import numpy as np
from emulated_kernels import load
from rank_processes import Ranks

# What a script finds beside what rank_processes.py gives it: gpu(array) -> the array "on a GPU", and host(array).
ON_GPUS = """
sys.path.insert(0, os.environ["TESTS"])
from emulated_kernels import load, on_device as gpu
from device_ranks import array_of
from fastnn import _backend
from fastnn.distributed import device, device_ring, host_copies, nccl
kernels = load(os.environ.get("VARIANT", "plain"))
_backend.cuda_kernels = lambda *arguments, **named: kernels
device_ring._SLOT_BYTES = host_copies._ROOM = 1024
host = np.asarray
"""
ON_ONE_CARD = """
sys.path.insert(0, os.environ["TESTS"])
import cupy
from device_ranks import array_of
from fastnn import _backend
gpu, host = cupy.asarray, cupy.asnumpy
"""
DTYPES = ("float32", "float64", "float16", "int32", "int64")
COUNTS = (0, 1, 63, 200, 3001)  # a slot of the emulator's holds 128 to 256 elements
REDUCE = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum}
EVERYTHING = """
out = {}
for dtype in DTYPES:
    for count in COUNTS:
        for op in ("sum", "max", "min") + (() if dtype.startswith("int") else ("mean",)):
            a = gpu(array_of(rank, count, dtype))
            comm.all_reduce(a, op)
            whole, part = gpu(array_of(rank, count * world, dtype)), gpu(np.full(count, 7, dtype))
            comm.reduce_scatter(whole, part, op)
            assert np.array_equal(host(whole), array_of(rank, count * world, dtype)), "the source was changed"
            out[f"{dtype} {count} {op}"] = [host(a).tolist(), host(part).tolist()]
        gathered, sent = gpu(np.full(count * world, 7, dtype)), gpu(array_of(rank, count, dtype))
        comm.all_gather(gpu(array_of(rank, count, dtype)), gathered)
        comm.broadcast(sent, world - 1)
        out[f"{dtype} {count} moved"] = [host(gathered).tolist(), host(sent).tolist()]
comm.barrier()
say(out)
say([type(way).__name__ for way in comm._on_devices._ways.values()])
"""


def array_of(rank, count, dtype):
    """A rank's array: small numbers, so that sums fit every dtype."""
    numbers = np.random.default_rng(rank).normal(size=count) * 4
    return np.ascontiguousarray(np.round(numbers) if dtype.startswith("int") else numbers, dtype)


def device_ranks(folder, script, world, **options):
    """The running ranks of a job; the extension is built before they start."""
    load()
    env = {"TESTS": str(Path(__file__).parent), **options.pop("env", {})}
    return Ranks(folder, ON_GPUS + script, world, env=env, **options)


def run_on_one_card(folder, script, world, **options):
    """What the ranks of a job on a real GPU say, once all have ended well."""
    env = {"TESTS": str(Path(__file__).parent)}
    with Ranks(folder, ON_ONE_CARD + script, world, env=env, **options) as ranks:
        return ranks.results()


def run_on_gpus(folder, script, world, **options):
    """What the ranks of a job say, once all have ended well."""
    with device_ranks(folder, script, world, **options) as ranks:
        return ranks.results()


def script_of(text, dtypes=DTYPES, counts=COUNTS):
    return f"DTYPES, COUNTS = {dtypes!r}, {counts!r}\n{text}"


def wanted(arrays, op):
    exact = np.float64 if arrays[0].dtype.kind == "f" else arrays[0].dtype
    total = REDUCE[op].reduce([array.astype(exact) for array in arrays])
    return total / len(arrays) if op == "mean" else total


def check_everything(out, world, dtypes=DTYPES, counts=COUNTS):
    for dtype in dtypes:
        tolerance = {"float16": 1e-2, "float32": 1e-5}.get(dtype, 1e-12)
        for count in counts:
            whole = [array_of(rank, count, dtype) for rank in range(world)]
            parted = [array_of(rank, count * world, dtype) for rank in range(world)]
            for op in ("sum", "max", "min", *(() if dtype.startswith("int") else ("mean",))):
                found = [out[rank][0][f"{dtype} {count} {op}"] for rank in range(world)]
                assert all(one[0] == found[0][0] for one in found), "ranks have different bits"
                np.testing.assert_allclose(found[0][0], wanted(whole, op), rtol=tolerance, atol=4 * tolerance)
                scattered = np.concatenate([np.array(one[1]) for one in found])
                np.testing.assert_allclose(scattered, wanted(parted, op), rtol=tolerance, atol=4 * tolerance)
            for rank in range(world):
                gathered, sent = out[rank][0][f"{dtype} {count} moved"]
                assert gathered == np.concatenate(whole).tolist() and sent == whole[-1].tolist()
