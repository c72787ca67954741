"""The kernels as targets of XLA's foreign function interface, and one call of a kernel over lists of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fastnn import _backend, _check

_PREFIX = "fastnn."
_registered = False


@dataclass(frozen=True)
class Call:
    """What a call of a kernel takes beside the arrays.

    Attributes:
        handler: the name of the kernel's handler.
        numbers: hyperparameters by name: a Python number, which becomes part of the compiled program in float64, or an
            array or tracer of shape (), which the kernel reads when it runs.
        flags: further arguments, bool.
        step: the number of the step, from 1: an integer array of shape ().
        decay: what to multiply the weight decay by, a number for each tensor.
    """

    handler: str
    numbers: dict[str, Any]
    flags: dict[str, bool]
    step: Any
    decay: Sequence[float]


def register() -> None:
    """Makes the kernels known to XLA, once in a process."""
    global _registered
    if _registered:
        return
    for name, capsule in _backend.kernels.xla_handlers().items():
        try:
            jax.ffi.register_ffi_target(_PREFIX + name, capsule, platform="cpu")
        except Exception as error:  # XLA compares the versions of its interface
            wanted = "a version whose foreign function interface is one of 0.1 to 0.3, or compatible with them"
            _check.fail(
                "fastnn.jax", "jaxlib", wanted, f"jax {jax.__version__}, which says: {error}", error=ImportError
            )
    _registered = True


def run(
    call: Call, params: list[Any] | None, grads: list[Any], slots: list[list[Any]], *, updates: bool
) -> tuple[list[Any], list[list[Any]]]:
    """Returns (the new params, the new slots), or with `updates` (what is to be added to the params, the new slots).

    The results lie where params, or with `updates` grads, and slots do: XLA copies those first that are still needed.

    Args:
        params: None if the kernel can do without.
        params, grads, slots: as many arrays in each list, float32.
    """
    traced = [value for value in call.numbers.values() if isinstance(value, jax.Array)]
    attributes: dict[str, Any] = {name: np.int32(flag) for name, flag in call.flags.items()}
    for name, value in call.numbers.items():
        is_traced = isinstance(value, jax.Array)
        attributes[name] = np.int32(1 + _position(value, traced)) if is_traced else np.float64(value)
    count = len(grads)
    attributes |= {"tensors": np.int32(count), "updates": np.int32(updates), "has_params": np.int32(params is not None)}
    attributes["decay"] = np.array(call.decay, np.float32)
    results = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in grads * (1 + len(slots))]
    operands = [call.step, *traced, *(params or []), *grads, *(array for slot in slots for array in slot)]
    first_slot = len(operands) - count * len(slots)
    first = 1 + len(traced) if not updates else first_slot - count
    aliases = {first + i: i for i in range(count)}
    aliases |= {first_slot + i: count + i for i in range(count * len(slots))}
    target = jax.ffi.ffi_call(_PREFIX + call.handler, results, vmap_method="sequential", input_output_aliases=aliases)
    out = target(*operands, **attributes)
    return list(out[:count]), [list(out[count * (k + 1) : count * (k + 2)]) for k in range(len(slots))]


def _position(value: Any, values: list[Any]) -> int:
    return next(i for i, other in enumerate(values) if other is value)
