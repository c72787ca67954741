"""Collective operations over the arrays of several processes."""

from __future__ import annotations

import atexit
import math
import os
import secrets
import socket
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastnn import _arrays, _backend, _check, _threads
from fastnn.distributed import arguments, errors, launch
from fastnn.distributed.device import DeviceCall, DeviceOperations, Enqueued
from fastnn.distributed.handle import Handle

_open: weakref.WeakSet[Communicator] = weakref.WeakSet()


class Communicator:
    """A group of processes, of one host or several, and this process as one of its ranks.

    All ranks make one at the same time, call the same operations in the same order, and close it. Arrays are those of
    NumPy, torch, CuPy or anything with DLPack or the buffer protocol, of float32, float64, float16, bfloat16, int32 or
    int64. float16 and bfloat16 are summed in float32 and rounded once (in a ring, once at each rank). Operations on
    arrays on GPUs are enqueued on the current stream of the array's framework; `blocking` doesn't matter to them.

    Sums are made in a fixed order, that of the ranks except in rings: all ranks get the same bits, in every run. With
    NCCL on GPUs the order is NCCL's.

    Every failure is an exception on every rank that is left (see `fastnn.distributed.errors`), and from then on all
    calls raise it.

    Args:
        rank, world_size: this process's number and how many there are; None asks the launcher's environment
            (`fastnn.distributed.launch`).
        host, port: where rank 0 waits for the others; None asks the launcher's environment.
        secret: a text that all ranks know and nobody else; None takes FASTNN_SECRET or the user's own.
        join_timeout: seconds within which all ranks must have come.
        timeout: seconds after which an operation fails for which a rank doesn't come.
        warn_after: seconds after which the rank that others wait for is named in a warning.
        heartbeat: seconds after which a host that answers nothing at all is given up.

    Raises:
        RendezvousError: ranks are missing, the port is taken, a secret is wrong.
    """

    def __init__(
        self,
        rank: int | None = None,
        world_size: int | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        secret: str | None = None,
        join_timeout: float = 120.0,
        timeout: float = 300.0,
        warn_after: float = 10.0,
        heartbeat: float = 10.0,
    ):
        _check.number("Communicator", "join_timeout", join_timeout, above=0.0)
        _check.number("Communicator", "timeout", timeout, above=0.0)
        _check.number("Communicator", "warn_after", warn_after, above=0.0)
        _check.number("Communicator", "heartbeat", heartbeat, minimum=1.0)
        record = launch.resolve(rank=rank, world_size=world_size, host=host, port=port, secret=secret)
        self.launch = record
        self._kernels = _backend.kernels
        self._on_devices: DeviceOperations | None = None
        self._barrier = self._kernels.CommCall(kind=arguments.KINDS["barrier"])
        if record.world == 1:  # nobody is to come
            place, secret = f"unix:fastnn-{secrets.token_hex(16)}", secrets.token_hex(16)
        else:
            place, secret = record.host, record.secret or launch.user_secret()
        quota = _threads.cgroup_quota(Path("/"))
        try:
            self._group = self._kernels.comm_join(
                rank=record.rank,
                world=record.world,
                machine=launch.machine_id(),
                host=socket.gethostname(),
                place=place,
                port=record.port,
                secret=secret,
                timeout=join_timeout,
                listening=-1 if record.listening is None or record.world == 1 else record.listening,
                warn_after=warn_after,
                operation_timeout=timeout,
                heartbeat=heartbeat,
                cores=math.inf if quota is None else quota,
                warn=_warn,
            )
        except self._kernels.CommFailed as failed:
            raise errors.of_failure(failed) from None
        self._all_reduce_plain = self._group.all_reduce_plain
        _open.add(self)

    @property
    def rank(self) -> int:
        """This process's number among all."""
        return int(self._group.rank)

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return int(self._group.world)

    @property
    def local_rank(self) -> int:
        """This process's number among those of its host."""
        return int(self._group.local_rank)

    @property
    def local_world_size(self) -> int:
        """How many processes there are on this host."""
        return int(self._group.local_world)

    @property
    def hosts(self) -> int:
        """How many hosts there are."""
        return int(self._group.hosts)

    @property
    def cores(self) -> int:
        """How many CPUs the ranks of this host may run on, all together."""
        return int(self._group.cores)

    @property
    def members(self) -> list[tuple[int, str, int]]:
        """(rank, host, process id) of all ranks."""
        return list(self._group.members)

    def all_reduce(
        self,
        array: Any,
        op: str = "sum",
        *,
        compression: str | None = None,
        algorithm: str = "auto",
        blocking: bool = True,
    ) -> Handle | None:
        """Combine the arrays of all ranks, element by element, and write the result to all of them.

        Fastest for arrays made by `empty` or `zeros`.

        Args:
            array: of the same shape and order of axes in memory on all ranks; changed in place.
            op: "sum", "mean" (floats only), "max" or "min"; a NaN of any rank stays one.
            compression: "bfloat16" or "float16" halves what float32 arrays send to other hosts: each partial sum that
                travels is rounded, and added in float32.
            algorithm: "auto", or "ring" to pass parts from rank to rank on one host, too; on GPUs also "nccl".
            blocking: False returns a `Handle` at once; the array must not be touched before it is done.

        Raises:
            CommunicationError: see `fastnn.distributed.errors`.
        """
        if blocking and compression is None and algorithm == "auto":
            try:  # here, not in a function of its own: this is a tenth of a small operation
                if self._all_reduce_plain(array, op):
                    return None
            except self._kernels.CommFailed as failed:
                raise errors.of_failure(failed) from None
        what = arguments.describe("all_reduce", "array", array, written=True)
        options = arguments.options("all_reduce", what, op, compression, algorithm)
        place = {"source": what.address, "destination": what.address, "layout": arguments.layout(what)}
        return self._do("all_reduce", what.size, what, blocking, [array], **options, **place)

    def reduce_scatter(
        self, source: Any, destination: Any, op: str = "sum", *, algorithm: str = "auto", blocking: bool = True
    ) -> Handle | None:
        """Combine the arrays of all ranks and give each rank its part: rank r gets the r-th of world_size equal ones.

        Args:
            source: C-contiguous, world_size times as many elements as `destination`.
            destination: C-contiguous; may be this rank's part of `source`.
            op, algorithm, blocking: as for `all_reduce`.
        """
        given = arguments.describe("reduce_scatter", "source", source, written=False)
        result = arguments.describe("reduce_scatter", "destination", destination, written=True)
        arguments.check_parts(self.rank, self.world_size, "reduce_scatter", "source", given, "destination", result)
        options = arguments.options("reduce_scatter", result, op, None, algorithm)
        place = {"source": given.address, "destination": result.address}
        return self._do("reduce_scatter", result.size, result, blocking, [source, destination], **options, **place)

    def all_gather(
        self, source: Any, destination: Any, *, algorithm: str = "auto", blocking: bool = True
    ) -> Handle | None:
        """Give all ranks the arrays of all, one behind the other in the order of the ranks.

        Args:
            source: C-contiguous, of the same number of elements on all ranks; may be this rank's part of `destination`.
            destination: C-contiguous, world_size times as many elements.
            algorithm, blocking: as for `all_reduce`.
        """
        given = arguments.describe("all_gather", "source", source, written=False)
        result = arguments.describe("all_gather", "destination", destination, written=True)
        arguments.check_parts(self.rank, self.world_size, "all_gather", "destination", result, "source", given)
        options = arguments.options("all_gather", result, "sum", None, algorithm)
        place = {"source": given.address, "destination": result.address}
        return self._do("all_gather", given.size, result, blocking, [source, destination], **options, **place)

    def broadcast(self, array: Any, root: int = 0, *, algorithm: str = "auto", blocking: bool = True) -> Handle | None:
        """Write the array of one rank to those of all.

        Args:
            array: of the same shape and order of axes in memory on all ranks; changed in place, except on the root.
            root: the rank whose array it is.
            algorithm, blocking: as for `all_reduce`.
        """
        _check.integer("broadcast", "root", root, 0, self.world_size - 1)
        what = arguments.describe("broadcast", "array", array, written=root != self.rank)
        options = arguments.options("broadcast", what, "sum", None, algorithm)
        place = {"source": what.address, "destination": what.address, "root": root, "layout": arguments.layout(what)}
        return self._do("broadcast", what.size, what, blocking, [array], **options, **place)

    def barrier(self) -> None:
        """Return once all ranks have called it; what is enqueued on GPUs isn't waited for."""
        self._run(self._barrier)

    def empty(self, shape: int | Sequence[int], dtype: Any = np.float32) -> np.ndarray:
        """An array of zeros in memory that the ranks of this host share, so that operations on it copy nothing.

        All ranks must call it, with the same size. The memory is given back when all of them have let the array go.
        """
        dtype = np.dtype(dtype)
        size = math.prod((shape,) if isinstance(shape, (int, np.integer)) else tuple(shape))
        try:
            raw = self._group.allocate(size * dtype.itemsize)
        except self._kernels.CommFailed as failed:
            raise errors.of_failure(failed) from None
        return raw.view(dtype).reshape(shape)

    zeros = empty

    def close(self) -> None:
        """Leave the group; whoever still waits for this rank gets `RankDied`."""
        _open.discard(self)
        if hasattr(self, "_group"):  # else it was never joined
            self._group.close()
            if self._on_devices is not None:
                self._on_devices.close()

    __del__ = close  # which lets go of the GIL: the thread of operations on their way may need it to end

    def __enter__(self) -> Communicator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _do(
        self, kind: str, count: int, what: _arrays.Described, blocking: bool, keep: list[Any], **options: int
    ) -> Handle | None:
        if what.device != "cpu":
            if self._on_devices is None:
                self._on_devices = DeviceOperations(self, _backend.cuda_kernels(kind, "array", what.device))
            self._on_devices.run(DeviceCall.of(kind, what.dtype, count, **options), keep[0])
            return None if blocking else Handle(Enqueued(), self._kernels)
        call = self._kernels.CommCall(
            kind=arguments.KINDS[kind], type=arguments.TYPES[what.dtype], count=count, **options
        )
        if blocking:
            self._run(call)
            return None
        try:
            return Handle(self._group.start(call, keep), self._kernels)
        except self._kernels.CommFailed as failed:
            raise errors.of_failure(failed) from None

    def _await(self, counter: int, local_rank: int, value: int) -> None:
        try:
            self._group.await_counter(counter, local_rank, value % (1 << 32))
        except self._kernels.CommFailed as failed:
            raise errors.of_failure(failed) from None

    def _run(self, call: Any) -> None:
        try:
            self._group.run(call)
        except self._kernels.CommFailed as failed:
            raise errors.of_failure(failed) from None


def _warn(text: str) -> None:
    warnings.warn(text, errors.WaitingForRank, stacklevel=2)


@atexit.register
def _close_all() -> None:
    """A rank whose program ends tells those who wait for it."""
    for communicator in list(_open):
        communicator.close()


os.register_at_fork(after_in_child=_open.clear)  # they are the parent's
