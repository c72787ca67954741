"""The formats that parameters, gradients and states are stored in; steps calculate in float32 whatever they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
NAMES = "float32, bfloat16 or float16"
OPTIONS = ("state_dtype",)  # of groups


class Formats(NamedTuple):
    """Of tensors that one kernel call updates."""

    param: torch.dtype
    grad: torch.dtype
    states: tuple[torch.dtype, ...]

    def of_table(self) -> dict[str, Any]:
        """As `TensorTable.of_addresses` takes them."""
        states = [_name(dtype) for dtype in self.states]
        return {"params": _name(self.param), "grads": _name(self.grad), "states": states}


def wanted_dtype(group: dict[str, Any], param: torch.Tensor, value: Any) -> torch.dtype:
    """Of a state: what the group's option says; else what it is, or the parameter's if there is none yet."""
    option = group["state_dtype"]
    if option is not None:
        return option
    return value.dtype if isinstance(value, torch.Tensor) and value.dtype in FLOATS else param.dtype


class Kept:
    """A state on its way through torch's `load_state_dict`, which would give it the parameter's type."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value


def keep(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict with those states wrapped that keep their type: of groups with a `state_dtype`."""
    kept = {i for group in state_dict["param_groups"] if group.get("state_dtype") for i in group["params"]}
    state = {i: _kept(entries) if i in kept else entries for i, entries in state_dict["state"].items()}
    return {**state_dict, "state": state}


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
