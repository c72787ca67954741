"""Operations on GPUs' arrays by way of the host: for GPUs that can't reach each other's memory, and between hosts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.distributed import arguments

_ROOM = 16 << 20  # bytes


class HostCopies:
    """Copies arrays piece by piece to memory that the host's ranks share, where the CPU combines them, and back.

    Args:
        comm: the group.
        kernels: the extension for GPUs.
    """

    def __init__(self, comm: Any, kernels: Any):
        self._comm, self._kernels = comm, kernels
        self._room = comm.empty(_ROOM // 8, np.int64)
        self._address = self._room.__array_interface__["data"][0]
        self._pinned = kernels.pin_memory(self._address, _ROOM)

    def close(self) -> None:
        """Unpin the memory."""
        if self._pinned:
            self._kernels.unpin_memory(self._address)
            self._pinned = False

    def run(self, call: Any) -> None:
        """See `Transport`; unlike the others it returns once the result is on the GPU."""
        if call.count == 0:
            return
        many = 1 if call.kind in ("all_reduce", "broadcast") else self._comm.world_size
        item = arguments.ITEM_SIZES[call.dtype]
        longest = self._room.nbytes // (item * many)
        for begin in range(0, call.count, longest):
            self._piece(call, begin, min(longest, call.count - begin), item)

    def _piece(self, call: Any, begin: int, count: int, item: int) -> None:
        """Elements from `begin` on, of each rank's part where there are parts."""
        comm, world, own = self._comm, self._comm.world_size, self._comm.rank
        flat = self._room.view(_dtype(call.dtype))
        if call.kind == "reduce_scatter":
            for rank in range(world):
                self._copy(rank * count, call.source + (rank * call.count + begin) * item, count, item)
        else:
            place = own * count if call.kind == "all_gather" else 0
            self._copy(place, call.source + begin * item, count, item)
        self._kernels.synchronize()  # the data is on the host
        if call.kind == "all_reduce":
            comm.all_reduce(flat[:count], call.op, compression=call.compression)
        elif call.kind == "broadcast":
            comm.broadcast(flat[:count], call.root)
        elif call.kind == "reduce_scatter":
            comm.reduce_scatter(flat[: world * count], flat[own * count :][:count], call.op)
        else:
            comm.all_gather(flat[own * count :][:count], flat[: world * count])
        if call.kind == "all_gather":
            for rank in range(world):
                self._copy_back(call.destination + (rank * call.count + begin) * item, rank * count, count, item)
        else:
            place = own * count if call.kind == "reduce_scatter" else 0
            self._copy_back(call.destination + begin * item, place, count, item)
        self._kernels.synchronize()  # the room may be written again

    def _copy(self, place: int, source: int, count: int, item: int) -> None:
        self._kernels.copy_memory(self._address + place * item, source, count * item)

    def _copy_back(self, to: int, place: int, count: int, item: int) -> None:
        self._kernels.copy_memory(to, self._address + place * item, count * item)


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes  # NumPy has none of its own

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
