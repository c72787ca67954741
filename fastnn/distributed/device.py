"""Collective operations on arrays that lie on GPUs. They are enqueued: what the stream does later has the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fastnn import _arrays, _check
from fastnn.distributed import arguments, errors
from fastnn.distributed.device_ring import DeviceRing
from fastnn.distributed.host_copies import HostCopies
from fastnn.distributed.nccl import Nccl
from fastnn.functional.places import OnGpu


@dataclass(frozen=True)
class DeviceCall:
    """One operation; counts and addresses are those of `comm::Call`, the addresses on the GPU."""

    kind: str
    dtype: str
    count: int
    source: int
    destination: int
    op: str
    root: int
    layout: int
    algorithm: str
    compression: str | None

    @classmethod
    def of(
        cls,
        kind: str,
        dtype: str,
        count: int,
        *,
        combine: int,
        wire: int,
        algorithm: int,
        source: int,
        destination: int,
        root: int = 0,
        layout: int = 0,
    ) -> DeviceCall:
        """From the numbers of `comm::Call`."""
        op, way = list(arguments.COMBINES)[combine], list(arguments.DEVICE_ALGORITHMS)[algorithm - 2]
        packed = list(arguments.WIRES)[wire]
        return cls(kind, dtype, count, source, destination, op, root, layout, way, packed)

    def meeting(self, kernels: Any) -> Any:
        """The call in which the ranks compare what they are about to do."""
        return kernels.CommCall(
            kind=arguments.KINDS[self.kind],
            combine=arguments.COMBINES[self.op],
            type=arguments.TYPES[self.dtype],
            wire=arguments.WIRES[self.compression],
            algorithm=arguments.DEVICE_ALGORITHMS[self.algorithm],
            root=self.root,
            layout=self.layout,
            count=self.count,
        )


class Transport(Protocol):
    """A way from GPU to GPU."""

    def run(self, call: DeviceCall) -> None:
        """Enqueue the operation on the current stream."""

    def close(self) -> None:
        """Give back what it holds."""


class Enqueued:
    """What a Handle asks, of an operation on a GPU: whatever is enqueued on the same stream later comes after it."""

    def wait_for(self, seconds: float) -> bool:
        """True: nothing has to be waited for before more can be enqueued."""
        return True

    def check(self) -> None:
        """It hasn't failed: that would have been raised when it was enqueued."""


class DeviceOperations:
    """The operations of a group on GPUs' arrays, one GPU for each rank; several ranks may share one.

    The first operation finds out which ways there are, on all ranks together: NCCL through CuPy, if each rank has a GPU
    of its own; the ring over memory that GPUs of one host open to each other; else copies to the host.

    Args:
        comm: the group.
        kernels: the extension for GPUs.
    """

    def __init__(self, comm: Any, kernels: Any):
        self._comm, self._kernels = comm, kernels
        self._ways: dict[str, Transport] = {}
        self._found: set[str] = set()

    def run(self, call: DeviceCall, array: Any) -> None:
        """Meet the other ranks, then enqueue an operation on the GPU of the array and the stream of its framework."""
        self._comm._run(call.meeting(self._comm._kernels))
        try:
            with OnGpu(call.kind, "array", array, _arrays.device_of(array)).current():
                self._enqueue(call)
        except (errors.CommunicationError, ValueError):  # known to all ranks
            raise
        except BaseException:
            self._comm.close()  # the others would wait for what this rank doesn't do
            raise

    def _enqueue(self, call: DeviceCall) -> None:
        if self._comm.world_size > 1:
            self._way(call.kind, call.algorithm).run(call)
        else:
            item = arguments.ITEM_SIZES[call.dtype]
            self._kernels.copy_memory(call.destination, call.source, call.count * item)

    def _way(self, function: str, algorithm: str) -> Transport:
        for name in ("nccl", "ring", "host") if algorithm == "auto" else (algorithm,):
            if name not in self._found:
                self._found.add(name)
                way = self._open(name)
                if way is not None:
                    self._ways[name] = way
            if name in self._ways:
                return self._ways[name]
        reasons = {
            "nccl": "a group without NCCL: it needs CuPy with NCCL on all ranks, and a GPU of its own for each",
            "ring": "a group whose GPUs can't reach each other's memory, or of several hosts",
        }
        _check.fail(function, "algorithm", "'auto' here", f"{algorithm!r}, in {reasons[algorithm]}")

    def _open(self, name: str) -> Transport | None:
        if name == "nccl":
            return Nccl.open(self._comm, self._kernels)
        if name == "ring":
            return DeviceRing.open(self._comm, self._kernels)
        return HostCopies(self._comm, self._kernels)

    def close(self) -> None:
        """Give back what the ways hold."""
        for way in self._ways.values():
            way.close()
        self._ways.clear()
