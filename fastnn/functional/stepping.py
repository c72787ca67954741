"""What all optimizer steps over lists of arrays share: their common options, rules that are bound once, the call."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

import numpy as np

from fastnn._arrays import device_of
from fastnn._check import boolean, describe, fail, integer, number
from fastnn.functional import tensor_lists
from fastnn.functional.places import Place, place_of
from fastnn.functional.tensor_lists import Settings

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack

Arrays = Sequence[Any]


class Shared(TypedDict, total=False):
    """Options of every step; the head of ``updates.py`` says what they mean."""

    decoupled: bool
    maximize: bool
    clip_norm: float
    clip_value: float
    clip_norm_per_tensor: bool
    skip_nonfinite: bool
    grad_scale: float
    found_inf: Any
    l1: float | Sequence[float]
    lr_scale: Sequence[float]
    master: Arrays
    scales: dict[str, Arrays]
    seed: int


_OF_RULES = tuple(Shared.__annotations__)[:6]
_DECOUPLED = (("decoupled", True),)
_FLAGS = ("decoupled", "maximize", "clip_norm_per_tensor", "skip_nonfinite")


def bound(make: Callable[..., Any]) -> Callable[..., Any]:
    """Of a function (kernels, name, weight_decay, common, own options ...) -> rule one that makes each rule only once.

    To check and pass on a rule's options takes as long as a step over a thousand elements.
    """
    return functools.lru_cache(maxsize=256)(make)


def option(function: str, name: str, value: Any, **bounds: float) -> float:
    """A number among the options of a rule, which may not change as an array or a tensor can."""
    if not isinstance(value, (float, int, np.number)):
        fail(function, name, "a number", describe(value), error=TypeError)
    return number(function, name, value, **bounds)  # type: ignore[arg-type]


def common_options(function: str, weight_decay: Any, common: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """The options that all rules share, checked."""
    checked = {"weight_decay": option(function, "weight_decay", weight_decay, minimum=0.0)}
    for name, value in common:
        flag = name in _FLAGS
        checked[name] = boolean(function, name, value) if flag else option(function, name, value, minimum=0.0)
    return checked


def run(
    function: str,
    bind: Callable[..., Any],
    own: tuple[Any, ...],
    lists: dict[str, Arrays],
    step: int,
    lr: Any,
    weight_decay: Any,
    shared: Shared,
    *,
    decoupled: bool = False,
    adapts: Sequence[bool] | None = None,
    matrices: str = "",
) -> bool | None:
    """One step.

    Args:
        function: for messages.
        bind, own: what makes the rule, and its own options for it.
        lists: params, grads, and the states in the rule's order.
        step, lr, weight_decay: as the caller gave them.
        shared: the other options.
        decoupled: what the option of this name is unless it's given.
        adapts: for each tensor, whether it takes the ratio of its norms; None: all do.
        matrices: how the learning rate depends on a matrix's lengths, if the rule is one for matrices.

    Returns:
        Whether the step was made: False if it was skipped, None if that is known on a GPU alone.
    """
    count = step if type(step) is int and step > 0 else integer(function, "step", step, 1)
    rate = number(function, "lr", lr, 0.0)
    place = place_of(function, lists["params"])
    if shared or adapts is not None or matrices or not isinstance(weight_decay, (float, int)):
        shared.setdefault("decoupled", decoupled)
        kind = Settings(adapts=None if adapts is None else _flags(function, adapts), matrices=matrices)
        return _run_with(function, place, bind, own, lists, count, rate, weight_decay, shared, kind)
    rule = _bind(place.kernels, function, bind, weight_decay, _DECOUPLED if decoupled else (), own)
    table = tensor_lists.table(function, lists, len(lists) - 2, place=place)
    with place.current():
        rule.step(table, rate, count)
    note_changes(lists["params"])
    return True


def _run_with(
    function: str,
    place: Place,
    bind: Callable[..., Any],
    own: tuple[Any, ...],
    lists: dict[str, Arrays],
    step: int,
    lr: float,
    weight_decay: Any,
    shared: Shared,
    kind: Settings,
) -> bool | None:
    """`run` with options that are shared, or another weight decay for each tensor."""
    for name in shared.keys() - Shared.__annotations__.keys():
        raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")
    slots, decay = len(lists) - 2, None
    if isinstance(weight_decay, (list, tuple)):
        decay, weight_decay = _numbers(function, "weight_decay", weight_decay), 1.0
    common = tuple((name, shared[name]) for name in _OF_RULES if name in shared)  # type: ignore[literal-required]
    rule = _bind(place.kernels, function, bind, weight_decay, common, own)
    lists, settings = _with_storage(function, lists, shared, kind._replace(decay=decay))
    scale = number(function, "grad_scale", shared.get("grad_scale", 1.0))
    found = _found_inf(function, place, shared)
    table = tensor_lists.table(function, lists, slots, settings, place)
    with place.current():
        if found is None:
            rule.step(table, lr, step, scale)
        else:
            rule.step(table, lr, step, scale, found)
    if not place.on_cpu:
        note_changes(lists["params"])
        return None if found is not None or shared.get("skip_nonfinite") else True
    skipped = found is not None and found[0] != 0
    if not skipped:
        note_changes(lists["params"])
    return not skipped


def _bind(
    kernels: Any, function: str, bind: Callable[..., Any], weight_decay: Any, common: tuple[Any, ...], own: Any
) -> Any:
    try:
        return bind(kernels, function, weight_decay, common, *own)
    except TypeError:  # perhaps an option that can't be hashed, which isn't the number that it must be
        return bind.__wrapped__(kernels, function, weight_decay, common, *own)  # type: ignore[attr-defined]


def _with_storage(
    function: str, lists: dict[str, Arrays], shared: Shared, kind: Settings
) -> tuple[dict[str, Arrays], Settings]:
    """The lists with those of master copies and scales, and all else that belongs to the tensors."""
    l1, lr_scale, seed = shared.get("l1", 0.0), shared.get("lr_scale"), shared.get("seed")
    scales = shared.get("scales") or {}
    for name in scales.keys() - list(lists)[2:]:
        fail(function, "scales", f"of {', '.join(list(lists)[2:]) or 'no state'}", repr(name))
    master = shared.get("master")
    settings = kind._replace(
        l1=_numbers(function, "l1", l1) if isinstance(l1, (list, tuple)) else option(function, "l1", l1, minimum=0.0),
        lr_scale=None if lr_scale is None else _numbers(function, "lr_scale", lr_scale),
        seed=None if seed is None else integer(function, "seed", seed, 0, 2**64 - 1),
        scaled=tuple(name for name in list(lists)[2:] if name in scales),
        has_master=master is not None,
    )
    more = {} if master is None else {"master": master}
    return {**lists, **more, **{f"scales[{name!r}]": scales[name] for name in settings.scaled}}, settings


def _numbers(function: str, name: str, values: Any) -> tuple[float, ...]:
    """A number for each tensor."""
    if not isinstance(values, (list, tuple)):
        fail(function, name, "a list with a number for each tensor", describe(values), error=TypeError)
    return tuple(number(function, f"{name}[{i}]", value, 0.0) for i, value in enumerate(values))


def _flags(function: str, adapts: Any) -> tuple[float, ...]:
    """1 or 0 for each tensor."""
    if not isinstance(adapts, (list, tuple)):
        fail(function, "adapts", "a list with True or False for each tensor", describe(adapts), error=TypeError)
    return tuple(float(boolean(function, f"adapts[{i}]", value)) for i, value in enumerate(adapts))


def _found_inf(function: str, place: Place, shared: Shared) -> Any:
    """The float32[1] in which a kernel is told, and tells, that there is something that isn't finite; None if nobody
    asks."""
    found = shared.get("found_inf")
    if not place.on_cpu:
        return None if found is None else place.one_float(function, "found_inf", found)
    if found is None:
        return np.zeros(1, np.float32) if shared.get("skip_nonfinite") else None
    array = found
    if not isinstance(found, np.ndarray) and hasattr(found, "__dlpack__") and device_of(found) == "cpu":
        array = found.detach().numpy() if hasattr(found, "detach") else np.from_dlpack(found)
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.size != 1 or not array.flags.writeable:
        fail(function, "found_inf", "a writable float32 array of one element on the CPU", describe(found))
    return array.reshape(1)


def note_changes(params: Arrays) -> None:
    """Tells autograd which tensors were changed: a graph that holds one of them mustn't be used any more."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    changed = [array for array in params if isinstance(array, torch.Tensor)]
    if changed:
        torch.autograd.graph.increment_version(changed)


def need_state(function: str, name: str, arrays: Arrays | None, needed: bool, reason: str) -> None:
    """A state that is needed is there, one that would be ignored isn't."""
    if needed and arrays is None:
        fail(function, name, f"a list of arrays where {reason}", "None")
    if not needed and arrays is not None:
        fail(function, name, f"None unless {reason}", describe(arrays))


def need_pair(function: str, name: str, values: Any) -> tuple[Any, Any] | NoReturn:
    """Two numbers."""
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        fail(function, name, "two numbers", describe(values))
    return values[0], values[1]
