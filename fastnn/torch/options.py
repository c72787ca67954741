"""What an optimizer's arguments may be, in the constructor and in parameter groups."""

from __future__ import annotations

from typing import Any

import torch

from fastnn import _check
from fastnn.torch import storage

# What each option must be: the bounds of a number, `bool`, `int` for one of at least 0, or a list of what it may be.
_SIZE = {"minimum": 0}
_FRACTION = {"minimum": 0, "below": 1}
_KINDS: dict[str, Any] = {
    "lr": _SIZE,
    "weight_decay": _SIZE,
    "momentum": _SIZE,
    "dampening": {},
    "eps": _SIZE,
    "alpha": _FRACTION,
    "adamw_betas": (_FRACTION, _FRACTION),
    "adamw_eps": _SIZE,
    "adamw_lr_ratio": _SIZE,
    "ns_coefficients": ({}, {}, {}),
    "ns_steps": int,
    "adjust_lr_fn": [None, "original", "match_rms_adamw"],
    "use_muon": [None, False, True],
    "lr_decay": _SIZE,
    "trust_coefficient": _SIZE,
    "initial_accumulator_value": _SIZE,
    "betas": (_FRACTION, _FRACTION),
    "l1": _SIZE,
    "clip_norm": _SIZE,
    "clip_value": _SIZE,
    "skip_nonfinite": bool,
    "state_dtype": [None, *storage.FLOATS, torch.uint8],
    "min_8bit_size": int,
    "master": [None, *storage.MASTERS],
    "stochastic_rounding": bool,
    "seed": int,
    "nesterov": bool,
    "exclude_vectors": bool,
    "amsgrad": bool,
    "centered": bool,
    "maximize": bool,
    "bias_correction": bool,
    "eps_inside_sqrt": bool,
    "decoupled_weight_decay": bool,
}
# Options that say how torch does its work. They take no part in what a step computes.
MANNERS = ("foreach", "fused", "capturable", "differentiable")


def check_options(function: str, options: dict[str, Any]) -> None:
    """Fails with a message that names the option unless all are in range; numbers may be tensors of one element."""
    for name, kind in _KINDS.items():
        if name not in options:
            continue
        value = options[name]
        if kind is bool:
            _check.boolean(function, name, value)
        elif isinstance(kind, list):
            if value not in kind:
                _check.fail(function, name, f"one of {', '.join(map(str, kind))}", _check.describe(value))
        elif kind is int:
            _check.integer(function, name, value, 0)
        elif isinstance(kind, tuple):
            if not isinstance(value, (tuple, list)) or len(value) != len(kind):
                _check.fail(function, name, f"{len(kind)} numbers", _check.describe(value))
            for i, bounds in enumerate(kind):
                _number(function, f"{name}[{i}]", value[i], bounds)
        else:
            _number(function, name, value, kind)
    if options.get("stochastic_rounding") and options.get("master") is not None:
        _check.fail(function, "stochastic_rounding", "False with a master, which loses nothing by rounding", "True")
    if (
        options.get("nesterov")
        and "ns_steps" not in options
        and (options["momentum"] <= 0 or options.get("dampening", 0) != 0)
    ):
        wanted = ", and dampening 0," if "dampening" in options else ""
        given = ", ".join(f"{name}={options[name]!r}" for name in ("momentum", "dampening") if name in options)
        _check.fail(function, "momentum", f"above 0{wanted} with nesterov=True", given)


def check_manners(function: str, arguments: dict[str, Any]) -> None:
    """Fails if the constructor is asked to work in a way that it doesn't: here all tensors are updated in one pass."""
    foreach, fused = arguments.get("foreach"), arguments.get("fused")
    if foreach and fused:
        _check.fail(function, "fused", "None or False with foreach=True", repr(fused))
    if fused is False and not foreach:
        _check.fail(function, "fused", "None or True", "False", "There is no other form here: use torch.optim for it.")
    if foreach is False and not fused:
        remedy = "There is no form here that goes tensor by tensor: use torch.optim for it."
        _check.fail(function, "foreach", "None or True", "False", remedy)
    if arguments.get("differentiable"):
        remedy = "Steps here are no part of autograd's graph: use torch.optim for it."
        _check.fail(function, "differentiable", "False", "True", remedy)


def plain(value: Any) -> Any:
    """A tensor of one element as a number, anything else as it is."""
    return value.item() if isinstance(value, torch.Tensor) else value


def _number(function: str, name: str, value: Any, bounds: dict[str, Any]) -> None:
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        _check.fail(function, name, "a number or a tensor of one element", f"one of shape {tuple(value.shape)}")
    _check.number(function, name, plain(value), **bounds)
