"""What a step is given, checked and made ready: parameters, gradients, states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fastnn import _arrays, _check
from fastnn.torch import storage

if TYPE_CHECKING:
    from fastnn.torch.base import Optimizer

_PLAIN = (torch.nn.Parameter, torch.Tensor)


class PreparedTensors:
    """Every parameter that has a gradient, with states that fit it; states that aren't there are made.

    Attributes:
        names: of the states, the step counter first.
        addresses: int64[2 + len(names), parameters], of parameters, gradients and states; 0 where there is none.
        counts: int64[parameters], of elements.
        all: parameters, column by column.
        params: those to be updated, each once.
        copies: gradients whose elements lie in another order than the parameter's, in the parameter's order.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._function = type(optimizer).__name__
        self._optimizer = optimizer
        slots = [name for group in optimizer.param_groups for name in optimizer.slots(group)]
        self.names = list(dict.fromkeys((["step"] if optimizer.counts_steps else []) + slots))
        self.all = [param for group in optimizer.param_groups for param in group["params"]]
        columns = len(self.all)
        self.addresses = np.zeros((2 + len(self.names), columns), np.int64)
        self.counts = np.zeros(columns, np.int64)
        self.copies: list[torch.Tensor] = []
        updated: dict[torch.Tensor, None] = {}
        self._occurrences: Counter[int] = Counter()
        self._parts: dict[tuple[int, int, float, storage.Formats], list[int]] = {}
        if optimizer.counts_steps:
            self._make_counters()
        column = 0
        for number, group in enumerate(optimizer.param_groups):
            for param in group["params"]:
                if param.grad is not None:
                    self._add(number, group, param, column)
                    updated[param] = None
                column += 1
        self.params = list(updated)

    def parts(self) -> Iterator[tuple[dict[str, Any], np.ndarray, int, bool, storage.Formats]]:
        """Yields (group, columns, step, repeated, formats) for each kernel call, see `Part`."""
        for (number, occurrence, step, formats), columns in sorted(self._parts.items(), key=lambda item: item[0][:2]):
            yield self._optimizer.param_groups[number], np.array(columns, np.int64), int(step), occurrence > 0, formats

    def _add(self, number: int, group: dict[str, Any], param: torch.Tensor, column: int) -> None:
        place = f"params[{column}]"
        self._check(place, param, param)
        grad = self._fitting_gradient(place, param)
        address = param.data_ptr()
        occurrence = self._occurrences[address] if address else 0
        self._occurrences[address] += 1
        slots = self._optimizer.slots(group)
        state = self._optimizer.state[param] if slots or self._optimizer.counts_steps else {}
        if self._optimizer.counts_steps:
            step = state["step"].item()
        else:  # all that matters is whether a buffer holds something
            step = 1.0 if occurrence == 0 and any(state.get(name) is None for name in slots) else 2.0
        values = [self._state(place, name, state, param, group) for name in slots]
        for name, value in zip(slots, values):
            self.addresses[2 + self.names.index(name), column] = value.data_ptr()
        if self._optimizer.counts_steps:
            self.addresses[2, column] = state["step"].data_ptr()
        self.addresses[:2, column] = address, grad.data_ptr()
        self.counts[column] = param.numel()
        formats = storage.Formats(param.dtype, grad.dtype, tuple(value.dtype for value in values))
        self._parts.setdefault((number, occurrence, step, formats), []).append(column)

    def _check(self, place: str, tensor: torch.Tensor, param: torch.Tensor) -> None:
        """Fails unless a kernel can work on the tensor, a parameter or what belongs to it."""
        if tensor.is_complex():
            self._fail(place, "real", tensor, "Optimize torch.view_as_real of it.")
        if tensor.layout != torch.strided:
            self._fail(place, "dense", tensor, "Use torch.optim.SparseAdam, or sparse=False in the embedding.")
        if type(tensor) not in _PLAIN and is_traceable_wrapper_subclass(tensor):
            self._fail(place, "a plain tensor", tensor)
        if tensor.device.type != "cpu":
            self._fail(place, "on the CPU", tensor, "This version has no CUDA kernels: use torch.optim for it.")
        if tensor.dtype not in storage.FLOATS:
            self._fail(place, storage.NAMES, tensor)
        if tensor.shape != param.shape:
            self._fail(place, f"of the parameter's shape {tuple(param.shape)}", tensor)
        if tensor is param and not _arrays.is_dense(param.shape, param.stride()):
            self._fail(place, "dense, without gaps or overlaps", tensor, "Make it of tensor.contiguous().")

    def _fail(self, place: str, wanted: str, tensor: torch.Tensor, remedy: str = "") -> None:
        given = f"{tensor.dtype} of shape {tuple(tensor.shape)} with strides {_strides(tensor)} on {tensor.device}"
        _check.fail(self._function, place, wanted, f"a {type(tensor).__name__} of {given}", remedy)

    def _fitting_gradient(self, place: str, param: torch.Tensor) -> torch.Tensor:
        grad = param.grad
        assert grad is not None
        self._check(f"{place}.grad", grad, param)
        if _same_order(grad, param) and not grad.is_neg():
            return grad
        self.copies.append(torch.empty_like(param, dtype=grad.dtype, requires_grad=False).copy_(grad))
        return self.copies[-1]

    def _make_counters(self) -> None:
        """A step counter for each parameter that is updated: a float32 on the CPU, as in torch's classes."""
        params = [p for group in self._optimizer.param_groups for p in group["params"] if p.grad is not None]
        gather_counters([s for s in map(self._optimizer.state.__getitem__, params) if not _is_counter(s.get("step"))])

    def _state(
        self, place: str, name: str, state: dict[str, Any], param: torch.Tensor, group: dict[str, Any]
    ) -> torch.Tensor:
        """A state that fits the parameter and is stored as the group wants it; one that isn't there is made."""
        value = state.get(name)
        dtype = storage.wanted_dtype(group, param, value)
        if value is None:
            value = state[name] = self._optimizer.new_state(name, param, group).to(dtype)
        if not isinstance(value, torch.Tensor):
            _check.fail(self._function, f"state[{place}][{name!r}]", "a tensor", _check.describe(value))
        self._check(f"state[{place}][{name!r}]", value, param)
        if value.dtype != dtype or not _same_order(value, param):  # as after model.to(memory_format=...)
            value = state[name] = torch.empty_like(param, dtype=dtype, requires_grad=False).copy_(value)
        return value


def gather_counters(states: list[dict[str, Any]]) -> None:
    """Puts step counters side by side in memory, with their values: a thousand apart are as many cache lines."""
    values = torch.tensor([float(state.get("step", 0.0)) for state in states], dtype=torch.float32)
    for state, counter in zip(states, values.unbind()):
        state["step"] = counter


def _is_counter(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.device.type == "cpu"


def _strides(tensor: torch.Tensor) -> Any:
    return tensor.stride() if tensor.layout == torch.strided else tensor.layout


def _same_order(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the elements of two tensors of one shape lie in the same order in memory."""
    return a.stride() == b.stride() or _arrays.order(a.shape, a.stride()) == _arrays.order(b.shape, b.stride())
