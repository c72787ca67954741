"""NCCL, NVIDIA's collectives, through CuPy."""

from __future__ import annotations

import hashlib
import importlib
from typing import Any

import numpy as np

_DTYPES = {
    "float32": "NCCL_FLOAT32",
    "float64": "NCCL_FLOAT64",
    "float16": "NCCL_FLOAT16",
    "bfloat16": "NCCL_BFLOAT16",
    "int32": "NCCL_INT32",
    "int64": "NCCL_INT64",
}
_OPS = {"sum": "NCCL_SUM", "mean": "NCCL_AVG", "max": "NCCL_MAX", "min": "NCCL_MIN"}


class Nccl:
    """NCCL's communicator of all ranks.

    Args:
        module: cupy.cuda.nccl.
        communicator: NCCL's.
        kernels: the extension for GPUs.
    """

    def __init__(self, module: Any, communicator: Any, kernels: Any):
        self._module, self._communicator, self._kernels = module, communicator, kernels

    @classmethod
    def open(cls, comm: Any, kernels: Any) -> Nccl | None:
        """On all ranks, or None on all of them: NCCL or CuPy is missing somewhere, or two ranks share a GPU."""
        module, gpu = _module_and_gpu()
        mine = f"{comm.members[comm.rank][1]}/{gpu}".encode()
        number = int.from_bytes(hashlib.sha256(mine).digest()[:8], "little", signed=True) if module else 0
        numbers = np.empty(comm.world_size, np.int64)
        comm.all_gather(np.array([number]), numbers)
        if module is None or 0 in numbers or len(set(numbers.tolist())) < comm.world_size:
            return None
        unique = np.zeros(128, np.int32)
        if comm.rank == 0:
            unique[:] = module.get_unique_id()
        comm.broadcast(unique)
        return cls(module, module.NcclCommunicator(comm.world_size, tuple(unique.tolist()), comm.rank), kernels)

    def close(self) -> None:
        """End it, without waiting for ranks that may be gone."""
        self._communicator.abort()

    def run(self, call: Any) -> None:
        """See `Transport`."""
        if call.count == 0:
            return
        nccl, stream = self._communicator, self._kernels.current_stream()
        arrays = (call.source, call.destination, call.count, getattr(self._module, _DTYPES[call.dtype]))
        op = getattr(self._module, _OPS[call.op])
        if call.kind == "all_reduce":
            nccl.allReduce(*arrays, op, stream)
        elif call.kind == "reduce_scatter":
            nccl.reduceScatter(*arrays, op, stream)
        elif call.kind == "all_gather":
            nccl.allGather(*arrays, stream)
        else:
            nccl.broadcast(*arrays, call.root, stream)


def _module_and_gpu() -> tuple[Any, str]:
    """CuPy's NCCL and the address of the current GPU; (None, "") if either is missing."""
    try:
        cupy = importlib.import_module("cupy")
        module = importlib.import_module("cupy.cuda.nccl")
    except ImportError:
        return None, ""
    if not getattr(module, "available", True):
        return None, ""
    return module, cupy.cuda.Device().pci_bus_id
