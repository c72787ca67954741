"""The kernels as targets of XLA's foreign function interface, and one call of a kernel over lists of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from fastnn import _backend, _check, _devices

_PREFIX = "fastnn."
_registered = False
_EACH = ("decay", "lr_scale", "adapts", "rows")

# Elements of a call. A call waits for all its gradients and keeps them alive: small ones let XLA update a layer while
# it works on the next one, and use the memory again. 5 ms of a step of 24 ms for eight layers of 1024 x 1024.
_ENOUGH = 1 << 18


@dataclass(frozen=True)
class Call:
    """What a call of a kernel takes beside the arrays.

    Attributes:
        handler: the name of the kernel's handler.
        numbers: hyperparameters by name: a Python number, which becomes part of the compiled program in float64, or an
            array or tracer of shape (), which the kernel reads when it runs.
        flags: further arguments, bool or int.
        step: the number of the step, from 1: an integer array of shape ().
        decay, lr_scale: what to multiply the weight decay and the learning rate by, a number for each tensor.
        adapts: whether a rule with a ratio for each tensor takes this one's.
        rows: of each tensor that is a matrix, for rules about matrices; else 0.
        elementwise: whether the kernel may be called for some tensors at a time.
        skip_nonfinite: whether nothing is to change where a gradient isn't finite.
    """

    handler: str
    numbers: dict[str, Any]
    flags: dict[str, Any]
    step: Any
    decay: Sequence[float]
    lr_scale: Sequence[float]
    adapts: Sequence[bool]
    rows: Sequence[int]
    elementwise: bool
    skip_nonfinite: bool

    def of(self, tensors: Sequence[int]) -> Call:
        """The same for some of the tensors."""
        each: dict[str, Any] = {name: [getattr(self, name)[i] for i in tensors] for name in _EACH}
        return replace(self, **each)


def register() -> None:
    """Makes the kernels known to XLA, once in a process: the CPU's, and a GPU's where there is one."""
    global _registered
    if _registered:
        return
    _register(_backend.kernels, "cpu")
    try:
        cuda = _devices.load_cuda()
    except ImportError:
        pass  # not built
    else:
        if cuda.device_count() > 0:
            _register(cuda, "CUDA")
    _registered = True


def _register(kernels: Any, platform: str) -> None:
    for name, capsule in kernels.xla_handlers().items():
        try:
            jax.ffi.register_ffi_target(_PREFIX + name, capsule, platform=platform)
        except Exception as error:  # XLA compares the versions of its interface
            wanted = "a version whose foreign function interface is one of 0.1 to 0.3, or compatible with them"
            _check.fail(
                "fastnn.jax", "jaxlib", wanted, f"jax {jax.__version__}, which says: {error}", error=ImportError
            )


def run(
    call: Call, params: list[Any] | None, grads: list[Any], slots: list[list[Any]], *, updates: bool
) -> tuple[list[Any], list[list[Any]], Any]:
    """Returns (the new params, the new slots, whether the step was skipped or None if it can't be).

    With `updates` the first are what is to be added to the params. The results lie where params, or with `updates`
    grads, and slots do: XLA copies those first that are still needed.

    Args:
        params: None if the kernel can do without.
        params, grads, slots: as many arrays in each list.
    """
    results: list[Any] = [None] * len(grads)
    new_slots: list[list[Any]] = [[None] * len(grads) for _ in slots]
    skipped = None
    for group in _groups(call, [grads, *([] if params is None else [params]), *slots]):
        own = None if params is None else [params[i] for i in group]
        lists = [grads[i] for i in group], [[slot[i] for i in group] for slot in slots]
        found, found_slots, skipped = _run(call.of(group), own, *lists, updates=updates)
        for position, i in enumerate(group):
            results[i] = found[position]
            for slot, found_slot in zip(new_slots, found_slots):
                slot[i] = found_slot[position]
    return results, new_slots, skipped


def _groups(call: Call, lists: list[list[Any]]) -> list[list[int]]:
    """The tensors of each call: all arrays of a kind of one type, and enough elements, or all where that has to be."""
    whole = not call.elementwise or call.skip_nonfinite or not _is_zero(call.numbers["clip_norm"])
    by_types: dict[Any, list[list[int]]] = {}
    sizes: dict[Any, int] = {}
    for i, arrays in enumerate(zip(*lists)):
        types = tuple(array.dtype for array in arrays)
        groups = by_types.setdefault(types, [])
        if not groups or (not whole and sizes[types] >= _ENOUGH):
            groups.append([])
            sizes[types] = 0
        groups[-1].append(i)
        sizes[types] += arrays[0].size
    return [group for groups in by_types.values() for group in groups]


def _is_zero(value: Any) -> bool:
    return not isinstance(value, jax.Array) and value == 0.0


def _run(
    call: Call, params: list[Any] | None, grads: list[Any], slots: list[list[Any]], *, updates: bool
) -> tuple[list[Any], list[list[Any]], Any]:
    """The same by one call."""
    traced = [value for value in call.numbers.values() if isinstance(value, jax.Array)]
    attributes: dict[str, Any] = {name: np.int32(flag) for name, flag in call.flags.items()}
    for name, value in call.numbers.items():
        is_traced = isinstance(value, jax.Array)
        attributes[name] = np.int32(1 + _position(value, traced)) if is_traced else np.float64(value)
    count = len(grads)
    attributes |= {"tensors": np.int32(count), "updates": np.int32(updates), "has_params": np.int32(params is not None)}
    attributes |= {name: np.array(getattr(call, name), np.float32) for name in ("decay", "lr_scale", "adapts")}
    attributes |= {"rows": np.array(call.rows, np.int64), "skip_nonfinite": np.int32(call.skip_nonfinite)}
    in_place = grads if updates else params or []
    results = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in [*in_place, *(a for s in slots for a in s)]]
    if call.skip_nonfinite:
        results.append(jax.ShapeDtypeStruct((), np.float32))
    operands = [call.step, *traced, *(params or []), *grads, *(array for slot in slots for array in slot)]
    first_slot = len(operands) - count * len(slots)
    first = 1 + len(traced) if not updates else first_slot - count
    aliases = {first + i: i for i in range(count)}
    aliases |= {first_slot + i: count + i for i in range(count * len(slots))}
    target = jax.ffi.ffi_call(_PREFIX + call.handler, results, vmap_method="sequential", input_output_aliases=aliases)
    out = target(*operands, **attributes)
    skipped = out[-1] != 0 if call.skip_nonfinite else None
    return list(out[:count]), [list(out[count * (k + 1) : count * (k + 2)]) for k in range(len(slots))], skipped


def _position(value: Any, values: list[Any]) -> int:
    return next(i for i, other in enumerate(values) if other is value)
