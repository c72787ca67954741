"""Data-parallel training of a torch module: gradients are averaged over the ranks while the backward pass runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from fastnn import _check, distributed

_BUCKET = 4 << 20  # bytes: large enough for the all-reduce's full speed, small enough to begin early


class _Bucket:
    """Gradients that are averaged together; they lie in memory that the ranks of a host share.

    Args:
        parameters: of one dtype.
        comm: the group.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], comm: distributed.Communicator):
        self.parameters = parameters
        dtype = parameters[0].dtype
        size = sum(p.numel() for p in parameters)
        raw = comm.empty(size * parameters[0].element_size() // 2, "int16")  # NumPy may not know the dtype
        self.flat = torch.from_numpy(raw).view(dtype)
        self.views, offset = [], 0
        for parameter in parameters:
            self.views.append(self.flat[offset : offset + parameter.numel()].view(parameter.shape))
            offset += parameter.numel()
        self.handle: Any = None
        self.ready: set[int] = set()

    def collect(self, number: int) -> None:
        """The gradient of this parameter is there: it moves to the bucket, if it isn't there already."""
        parameter, view = self.parameters[number], self.views[number]
        if parameter.grad is not None and parameter.grad.data_ptr() != view.data_ptr():
            view.copy_(parameter.grad)
            parameter.grad = view
        self.ready.add(number)

    def complete(self) -> None:
        """Parameters that took no part in this pass have the gradient of no samples."""
        for number, (parameter, view) in enumerate(zip(self.parameters, self.views)):
            if number in self.ready:
                continue
            if parameter.grad is None:
                view.zero_()
                parameter.grad = view
            else:
                self.collect(number)


class DataParallel(torch.nn.Module):
    """A module that several ranks train, each on its own batches: after ``backward`` every rank has the mean gradients.

        model = fastnn.torch.DataParallel(model)
        optimizer = fastnn.torch.AdamW(model.parameters())

    Parameters and buffers of rank 0 come to all at the start. Gradients are averaged in buckets, each as soon as its
    last gradient has come, on a thread beside the backward pass; the sums are made in the order of the ranks, so that
    all have the same bits. Gradients lie in memory that the ranks of a host share, so that they aren't copied.

    Args:
        module: on the CPU, its parameters of float32, float64, float16 or bfloat16; the same on all ranks.
        comm: the group; None takes that of ``fastnn.distributed.init``.

    Where torch's DistributedDataParallel differs: a parameter that took no part in a pass gets the mean of the others'
    gradients without being asked for (``find_unused_parameters``), and buffers aren't broadcast before every forward
    pass.
    """

    def __init__(self, module: torch.nn.Module, comm: distributed.Communicator | None = None):
        super().__init__()
        group = comm or distributed.current()
        if group is None:
            _check.fail("DataParallel", "comm", "a group of ranks", "None", "Call fastnn.distributed.init() first.")
        self.module, self._comm, self._synchronizes, self._queued = module, group, True, False
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.device.type != "cpu":
                _check.fail("DataParallel", "module", "on the CPU", f"{name} on {tensor.device}")
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                if tensor.dtype.is_floating_point or tensor.dtype in (torch.int32, torch.int64):
                    group.broadcast(tensor.detach())
        self._buckets = _fill(list(module.parameters()), group)
        self._next = 0
        for bucket in self._buckets:
            for number, parameter in enumerate(bucket.parameters):
                parameter.register_post_accumulate_grad_hook(self._hook(bucket, number))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's."""
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Backward passes within only add up this rank's gradients; the first one afterwards averages all."""
        before, self._synchronizes = self._synchronizes, False
        try:
            yield
        finally:
            self._synchronizes = before

    def _hook(self, bucket: _Bucket, number: int) -> Any:
        def hook(parameter: torch.Tensor) -> None:
            if not self._synchronizes:
                return
            if not self._queued:
                self._queued = True
                torch.autograd.Variable._execution_engine.queue_callback(self._finish)
            bucket.collect(number)
            self._start()

        return hook

    def _start(self) -> None:
        """Begin with the buckets that are full, in one order on all ranks."""
        while self._next < len(self._buckets):
            bucket = self._buckets[self._next]
            if len(bucket.ready) < len(bucket.parameters):
                return
            bucket.handle = self._comm.all_reduce(bucket.flat, "mean", blocking=False)
            self._next += 1

    def _finish(self) -> None:
        """At the end of the backward pass."""
        try:
            for bucket in self._buckets[self._next :]:
                bucket.complete()
                bucket.handle = self._comm.all_reduce(bucket.flat, "mean", blocking=False)
            for bucket in self._buckets:
                bucket.handle.wait()
        finally:
            for bucket in self._buckets:
                bucket.ready.clear()
            self._next, self._queued = 0, False


def _fill(parameters: list[torch.nn.Parameter], comm: distributed.Communicator) -> list[_Bucket]:
    """Buckets of parameters in the order in which their gradients come: the last ones first."""
    buckets: list[_Bucket] = []
    chosen: list[torch.nn.Parameter] = []
    size = 0
    for parameter in reversed([p for p in parameters if p.requires_grad]):
        bytes_of_it = parameter.numel() * parameter.element_size()
        if chosen and (size + bytes_of_it > _BUCKET or parameter.dtype != chosen[0].dtype):
            buckets.append(_Bucket(chosen, comm))
            chosen, size = [], 0
        chosen.append(parameter)
        size += bytes_of_it
    if chosen:
        buckets.append(_Bucket(chosen, comm))
    return buckets
