"""What a step is given, checked and made ready: parameters, gradients, states."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fastnn import _arrays, _check
from fastnn.torch import devices, storage

if TYPE_CHECKING:
    from fastnn.torch.base import Optimizer

_PLAIN = (torch.nn.Parameter, torch.Tensor)
_CPU = torch.device("cpu")


class Share(NamedTuple):
    """What one kernel call updates: parameters of one group and device, in the same step, by the same method, stored
    alike."""

    group: dict[str, Any]
    columns: np.ndarray  # int64[n], which of the addresses
    step: int  # of the update to come, unless counters say so
    repeated: bool  # whether these parameters have been updated in an earlier share of the same step
    method: str
    formats: storage.Formats
    device: torch.device


class PreparedTensors:
    """Every parameter that has a gradient, with states that fit it; states that aren't there are made.

    Attributes:
        names: of the states.
        addresses: int64[2 + len(names), parameters], of parameters, gradients and states; 0 where there is none.
        counts: int64[parameters], of elements.
        all: parameters, column by column.
        params: those to be updated, each once.
        shares: of the parameters, those that each kernel call updates.
        copies: gradients whose elements lie in another order than the parameter's, in the parameter's order.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._function = type(optimizer).__name__
        self._optimizer = optimizer
        self.all = [param for group in optimizer.param_groups for param in group["params"]]
        self._rows: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(self.all), np.int64))
        self._places = np.zeros((2, len(self.all)), np.int64)  # of parameters and gradients
        self.counts = np.zeros(len(self.all), np.int64)
        self.copies: list[torch.Tensor] = []
        self._occurrences: Counter[int] = Counter()
        self._columns: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        numbers = [number for number, group in enumerate(optimizer.param_groups) for _ in group["params"]]
        updated = [(column, param) for column, param in enumerate(self.all) if param.grad is not None]
        self.params = list(dict.fromkeys(param for _, param in updated))
        self._make_counters([(optimizer.param_groups[numbers[column]], param) for column, param in updated])
        for column, param in updated:
            self._add(numbers[column], param, column)
        self.names = list(self._rows)
        self.addresses = np.concatenate([self._places, *(row[None] for row in self._rows.values())])
        self.shares = list(self._shares())

    def _shares(self) -> Iterator[Share]:
        for key, columns in sorted(self._columns.items(), key=lambda item: item[0][:2]):
            number, occurrence, step, method, formats, device = key
            group = self._optimizer.param_groups[number]
            yield Share(group, np.array(columns, np.int64), int(step), occurrence > 0, method, formats, device)

    def _add(self, number: int, param: torch.Tensor, column: int) -> None:
        group, place = self._optimizer.param_groups[number], f"params[{column}]"
        self.check(place, param, param)
        self._optimizer.check_param(place, param, group)
        grad = self._fitting_gradient(place, param)
        address = param.data_ptr()
        occurrence = self._occurrences[address] if address else 0
        self._occurrences[address] += 1
        method = self._optimizer.method_of(param, group)
        slots = self._optimizer.slots(group, method)
        counts, master = self._optimizer.counts(group, method), storage.master_of(self._function, group, param)
        state = self._optimizer.state[param] if slots or counts or master else {}
        if counts:
            step = state["step"].item()
            self._rows["step"][column] = state["step"].data_ptr()
        else:  # all that matters is whether a buffer holds something
            step = 1.0 if occurrence == 0 and any(state.get(name) is None for name in slots) else 2.0
        keeper = StateKeeper(self, place, state, param, group)
        used: dict[str, torch.Tensor] = {}
        for name in slots:
            used |= keeper.slot(name, self._optimizer)
        formats = tuple(storage.format_of(name, used[name].dtype) for name in slots)
        if master:
            used |= keeper.master(master)
        for name, value in used.items():
            self._rows[name][column] = value.data_ptr()
        self._places[:, column] = address, grad.data_ptr()
        self.counts[column] = param.numel()
        stored = storage.Formats(param.dtype, grad.dtype, formats, master)
        key = (number, occurrence, step, method, stored, param.device)
        self._columns[key].append(column)

    def check(self, place: str, tensor: torch.Tensor, param: torch.Tensor, codes: torch.dtype | None = None) -> None:
        """Fails unless a kernel can work on the tensor, a parameter or what belongs to it.

        Args:
            codes: a type that it may have, too.
        """
        if tensor.is_complex():
            self._fail(place, "real", tensor, "Optimize torch.view_as_real of it.")
        if tensor.layout != torch.strided:
            self._fail(place, "dense", tensor, "Use torch.optim.SparseAdam, or sparse=False in the embedding.")
        if type(tensor) not in _PLAIN and is_traceable_wrapper_subclass(tensor):
            self._fail(place, "a plain tensor", tensor)
        if tensor.device.type not in ("cpu", "cuda"):
            self._fail(place, "on the CPU or a CUDA device", tensor, "Use torch.optim for it.")
        if tensor.device != param.device:
            self._fail(place, f"on {param.device}, as its parameter", tensor)
        if tensor.dtype not in storage.FLOATS and not (codes and tensor.dtype == codes):
            self._fail(place, storage.NAMES, tensor)
        if tensor.shape != param.shape:
            self._fail(place, f"of the parameter's shape {tuple(param.shape)}", tensor)
        if tensor is param and not _arrays.is_dense(param.shape, param.stride()):
            self._fail(place, "dense, without gaps or overlaps", tensor, "Make it of tensor.contiguous().")

    def fail_plainly(self, place: str, wanted: str, value: Any) -> NoReturn:
        """Fails as what isn't even a tensor, or isn't laid out as a parameter, is found."""
        _check.fail(self._function, place, wanted, _check.describe(value))

    def _fail(self, place: str, wanted: str, tensor: torch.Tensor, remedy: str = "") -> None:
        given = f"{tensor.dtype} of shape {tuple(tensor.shape)} with strides {_strides(tensor)} on {tensor.device}"
        _check.fail(self._function, place, wanted, f"a {type(tensor).__name__} of {given}", remedy)

    def _fitting_gradient(self, place: str, param: torch.Tensor) -> torch.Tensor:
        grad = param.grad
        assert grad is not None
        self.check(f"{place}.grad", grad, param)
        if _same_order(grad, param) and not grad.is_neg():
            return grad
        self.copies.append(torch.empty_like(param, dtype=grad.dtype, requires_grad=False).copy_(grad))
        return self.copies[-1]

    def _make_counters(self, updated: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
        """A step counter for each parameter that needs one: a float32, as in torch's classes on the CPU, or where the
        parameter is (see `devices.stays`)."""
        optimizer, lacking = self._optimizer, defaultdict(list)
        for group, param in updated:
            if not optimizer.counts(group, optimizer.method_of(param, group)):
                continue
            device = param.device if devices.stays(group, param) else _CPU
            if not _is_counter(optimizer.state[param].get("step"), device):
                lacking[device].append(optimizer.state[param])
        for device, states in lacking.items():
            gather_counters(states, device)


class StateKeeper:
    """Makes the states of one parameter what a step needs: there, of the wanted type, laid out as the parameter."""

    def __init__(
        self,
        tensors: PreparedTensors,
        place: str,
        state: dict[str, Any],
        param: torch.Tensor,
        group: dict[str, Any],
    ) -> None:
        self._tensors, self._place, self._state = tensors, place, state
        self._param, self._group = param, group

    def slot(self, name: str, optimizer: Optimizer) -> dict[str, torch.Tensor]:
        """The tensors of a state, by their keys."""
        if self._state.get(name) is None:
            self._state[name] = optimizer.new_state(name, self._param, self._group)
        value = self._checked(name, torch.uint8)
        dtype = storage.wanted_dtype(self._group, self._param, value)
        key = storage.scale_key(name)
        if value.dtype == torch.uint8 and not storage.fits(value, self._state.get(key)):
            wanted = f"float32 on {value.device}, one for each 256 elements"
            self._tensors.fail_plainly(f"state[{self._place}][{key!r}]", wanted, self._state.get(key))
        if value.dtype != dtype or not _same_order(value, self._param):  # as after model.to(memory_format=...)
            if value.dtype == torch.uint8:
                value = storage.decode(name, value, self._state.pop(key))
            self._state[name] = torch.empty_like(self._param, dtype=value.dtype, requires_grad=False).copy_(value)
            if dtype == torch.uint8:
                storage.encode(name, self._state[name], self._state)
            else:
                self._state[name] = self._state[name].to(dtype)
        keys = (name, key) if dtype == torch.uint8 else (name,)
        return {key: self._state[key] for key in keys}

    def master(self, kind: str) -> dict[str, torch.Tensor]:
        """What the parameter is short of the master."""
        name, dtype = storage.MASTERS[kind]
        if self._state.get(name) is None:
            self._state[name] = storage.new_master(kind, self._param)
        value = self._checked(name, dtype)
        if value.dtype != dtype or not _same_order(value, self._param):
            value = torch.empty_like(self._param, dtype=dtype, requires_grad=False).copy_(value)
        if kind == "float32":
            storage.renew_master(value, self._param)
        self._state[name] = value
        return {name: self._state[name]}

    def _checked(self, name: str, codes: torch.dtype) -> torch.Tensor:
        value, place = self._state[name], f"state[{self._place}][{name!r}]"
        if not isinstance(value, torch.Tensor):
            self._tensors.fail_plainly(place, "a tensor", value)
        self._tensors.check(place, value, self._param, codes)
        return value


def gather_counters(states: list[dict[str, Any]], device: torch.device = _CPU) -> None:
    """Puts step counters side by side in memory, with their values: a thousand apart are as many cache lines."""
    values = torch.tensor([float(state.get("step", 0.0)) for state in states], dtype=torch.float32).to(device)
    for state, counter in zip(states, values.unbind()):
        state["step"] = counter


def _is_counter(value: Any, device: torch.device) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.device == device


def _strides(tensor: torch.Tensor) -> Any:
    return tensor.stride() if tensor.layout == torch.strided else tensor.layout


def _same_order(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether the elements of two tensors of one shape lie in the same order in memory."""
    return a.stride() == b.stride() or _arrays.order(a.shape, a.stride()) == _arrays.order(b.shape, b.stride())
