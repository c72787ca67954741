"""The formats that parameters, gradients and states are stored in; steps calculate in float32 whatever they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from fastnn import _check
from fastnn.torch import devices

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
NAMES = "float32, bfloat16 or float16"
# Options of groups, which say how tensors are stored.
OPTIONS: dict[str, Any] = {
    "state_dtype": None,
    "min_8bit_size": 4096,
    "master": None,
    "stochastic_rounding": False,
    "seed": 0,
}
MASTERS = {"float32": ("master", torch.float32), "remainder": ("remainder", torch.int16)}  # the state's key and type
_UNSIGNED = {"exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"}  # states that are never negative
_BLOCK = 256  # numbers of 8 bits with a common scale


class Formats(NamedTuple):
    """Of tensors that one kernel call updates."""

    param: torch.dtype
    grad: torch.dtype
    states: tuple[str, ...]  # as the kernels call them
    master: str | None

    def of_table(self) -> dict[str, Any]:
        """As `TensorTable.of_addresses` takes them."""
        kinds: dict[str, Any] = {"params": _name(self.param), "grads": _name(self.grad), "states": list(self.states)}
        return (
            kinds if self.master is None else {**kinds, "masters": "float32" if self.master == "float32" else "uint16"}
        )


def scale_key(name: str) -> str:
    """The key of the scales of a state of 8 bits: float32, one for each 256 elements in the order of memory."""
    return f"{name}_scale"


def new_dtype(group: dict[str, Any], param: torch.Tensor) -> torch.dtype:
    """Of a state that is made; one of 8 bits is put into them later."""
    option = group["state_dtype"]
    return param.dtype if option is None else torch.float32 if option is torch.uint8 else option


def wanted_dtype(group: dict[str, Any], param: torch.Tensor, value: torch.Tensor) -> torch.dtype:
    """Of a state: what the group's option says, else what it is."""
    option = group["state_dtype"]
    if option is torch.uint8 and param.numel() < group["min_8bit_size"]:
        return torch.float32
    if option is not None:
        return option
    return value.dtype if value.dtype in FLOATS else param.dtype


def format_of(name: str, dtype: torch.dtype) -> str:
    """The kernels' name for how a state of this name and type is stored."""
    return _name(dtype) if dtype != torch.uint8 else "unsigned8" if name in _UNSIGNED else "signed8"


# ---- 8 bits, by a step whose momentum is the state


def encode(name: str, values: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    """Puts a state into 8 bits: codes that lie in memory as `values` do, under its key, and their scales."""
    flat = _flat(values.float()).contiguous()
    state[name] = torch.zeros_like(values, dtype=torch.uint8, requires_grad=False)
    state[scale_key(name)] = torch.zeros(-(-flat.numel() // _BLOCK), device=values.device)
    _momentum_step(name, torch.zeros_like(flat), flat, state[name], state[scale_key(name)], lr=0.0)
    return state[name]


def decode(name: str, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """What codes and scales stand for, as float32."""
    values = torch.zeros_like(codes, dtype=torch.float32)
    _momentum_step(name, values, torch.zeros_like(values), codes.clone(), scales.clone(), lr=-1.0)
    return values


def fits(codes: torch.Tensor, scales: Any) -> bool:
    """Whether these are the scales of a state of 8 bits."""
    known = isinstance(scales, torch.Tensor) and scales.dtype == torch.float32 and scales.device == codes.device
    return known and scales.is_contiguous() and scales.shape == (-(-codes.numel() // _BLOCK),)


def _momentum_step(
    name: str, param: torch.Tensor, grad: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor, lr: float
) -> None:
    """codes, scales += grad; param -= lr times that."""
    places = [np.array([tensor.data_ptr()], np.int64) for tensor in (param, grad, codes, scales)]
    dtypes = {"params": "float32", "grads": "float32", "states": [format_of(name, torch.uint8)]}
    kernels, counts = devices.kernels_of("fastnn.torch", param.device), np.array([param.numel()], np.int64)
    with devices.current(param.device, kernels):
        make = kernels.TensorTable.of_addresses
        table = make(places[0], places[1], [places[2]], counts, dtypes=dtypes, scales=[places[3]])
        kernels.sgd_rule(momentum=1.0).step(table, lr, 2)


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """The elements of a dense tensor in the order of memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


# ---- masters: parameters of 16 bits with what they are short of float32


def master_of(function: str, group: dict[str, Any], param: torch.Tensor) -> str | None:
    """Which kind of master a parameter has."""
    if param.dtype == torch.float32:
        return None
    if group["master"] == "remainder" and param.dtype != torch.bfloat16:
        _check.fail(function, "master", "None or 'float32' for parameters of float16", "'remainder'")
    return group["master"]


def new_master(kind: str, param: torch.Tensor) -> torch.Tensor:
    """The one that a parameter begins with: it's exact so far."""
    return param.detach().float() if kind == "float32" else torch.zeros_like(param, dtype=torch.int16)


def renew_master(master: torch.Tensor, param: torch.Tensor) -> None:
    """Takes over into a copy what somebody else has written into the parameter, as `model.load_state_dict` does."""
    changed = master.to(param.dtype) != param.detach()
    if changed.any():
        master[changed] = param.detach()[changed].float()


# ---- checkpoints


class Kept:
    """A state on its way through torch's `load_state_dict`, which would give it the parameter's type."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value


def keep(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict with those states wrapped that keep their type: of groups whose options say what it is."""
    kept = {i for group in state_dict["param_groups"] if _says_how(group) for i in group["params"]}
    state = {i: _kept(entries) if i in kept else entries for i, entries in state_dict["state"].items()}
    return {**state_dict, "state": state}


def _says_how(group: dict[str, Any]) -> bool:
    return group.get("state_dtype") is not None or group.get("master") is not None


def _kept(entries: dict[str, Any]) -> dict[str, Any]:
    return {
        key: Kept(value) if isinstance(value, torch.Tensor) and key != "step" else value
        for key, value in entries.items()
    }


def unpack(state: dict[Any, dict[str, Any]]) -> None:
    """Takes the states out again, to where their parameters are."""
    for param, entries in state.items():
        for key, value in entries.items():
            if isinstance(value, Kept):
                entries[key] = value.value.to(param.device)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
