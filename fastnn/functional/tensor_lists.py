"""Lists of arrays, one of parameters and those that belong to it, as the table of tensors that a kernel steps over.

Every call looks at every array: where it lies, its dtype and its layout. A table is remembered for the next call, which
takes it again if the arrays are the same, and only moves the gradients if those alone are others.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastnn import _arrays, _check
from fastnn.functional.places import CPU, Place, same_device

_BLOCK = 256  # elements of an 8-bit state that share a scale
_KEPT = 64  # tables
_ROLES = [f"wr{'w' * states}" for states in range(8)]  # what a kernel does with a list: see array_lists.h
_SIGNED = {"exp_avg", "momentum_buffer", "grad_avg"}  # the states whose values have a sign
_FLOATS = ("float32", "bfloat16", "float16")


class Settings(NamedTuple):
    """What belongs to the tensors beside parameters, gradients and states.

    Args:
        l1: a number, or one for each tensor.
        decay, lr_scale: None, or a number for each tensor.
        seed: of stochastic rounding, or None.
        scaled: the states of 8 bits.
        has_master: whether the parameters in float32, or what they lack of it, lie in a list of their own.
        adapts: None, or for each tensor whether it takes the ratio of its norms: 1 or 0.
        matrices: "", or how Muon's learning rate depends on a matrix's lengths.
    """

    l1: Any = 0.0
    decay: tuple[float, ...] | None = None
    lr_scale: tuple[float, ...] | None = None
    seed: int | None = None
    scaled: tuple[str, ...] = ()
    has_master: bool = False
    adapts: tuple[float, ...] | None = None
    matrices: str = ""


class _Seen(NamedTuple):
    """Memory of lists: addresses (int64, for each list), numbers of elements (likewise), dtypes."""

    addresses: list[np.ndarray]
    counts: list[np.ndarray]
    dtypes: list[str]

    @property
    def key(self) -> int:
        return int(self.addresses[0][0]) if len(self.addresses[0]) else 0

    def difference(self, other: _Seen) -> int:
        """As of ``ArrayLists``: the list that is another one, -1 if none is, -2 if several are or others."""
        if self.dtypes != other.dtypes or not all(map(np.array_equal, self.counts, other.counts)):
            return -2
        others = [k for k, pair in enumerate(zip(self.addresses, other.addresses)) if not np.array_equal(*pair)]
        return -2 if len(others) > 1 else others[0] if others else -1


_PLAIN = Settings()
_remembered: dict[Any, tuple[Any, Settings, Any]] = {}


def table(
    function: str,
    lists: dict[str, Sequence[Any]],
    slots: int,
    settings: Settings = _PLAIN,
    place: Place = CPU,
) -> Any:
    """The ``TensorTable`` of lists that belong together entry by entry. It doesn't keep the arrays alive.

    Args:
        function: for messages.
        lists: by the names of the arguments: params, grads, the states in the rule's order, master if there is one,
            and the scales.
        slots: how many lists of states there are.
        settings: what else the table depends on.
        place: where all arrays must be.

    Raises:
        ValueError, TypeError: lists of different lengths, arrays of another kind or that don't fit.
    """
    torch = sys.modules.get("torch")
    scales = len(settings.scaled)
    roles = _ROLES[len(lists) - 2 - scales] + "s" * scales
    seen = place.kernels.ArrayLists.of(list(lists.values()), roles, None if torch is None else torch.Tensor)
    if seen is None:
        memory = _describe(function, lists, scales, place)
        if place.on_cpu:
            return _build(function, lists, slots, settings, memory, place)
        seen = memory  # to make a table anew is dear on a GPU
    key = seen.key if place.on_cpu else (place.device, seen.key)
    known = _remembered.get(key)
    if known is not None and known[1] == settings and type(known[0]) is type(seen):
        difference = seen.difference(known[0])
        if difference == 1:
            try:
                known[2].move_grads(_addresses(seen, 1))
            except ValueError as error:
                del _remembered[key]
                raise ValueError(_in_words_of(function, lists, error)) from None
            _remembered[key] = seen, settings, known[2]
        if difference in (-1, 1):
            return known[2]
    if not isinstance(seen, _Seen):
        numbers = range(len(lists))
        memory = _Seen([*map(seen.addresses, numbers)], [*map(seen.counts, numbers)], seen.dtypes)
    made = _build(function, lists, slots, settings, memory, place)
    if len(_remembered) >= _KEPT:
        del _remembered[next(iter(_remembered))]
    _remembered[key] = seen, settings, made
    return made


def _addresses(seen: Any, number: int) -> np.ndarray:
    return seen.addresses[number] if isinstance(seen, _Seen) else seen.addresses(number)


def _describe(function: str, lists: dict[str, Sequence[Any]], scales: int, place: Place) -> _Seen:
    """The arrays that the kernels' own look doesn't know or doesn't take, one by one; messages say why it doesn't."""
    params = lists["params"]
    for name, arrays in lists.items():
        if not isinstance(arrays, (list, tuple)):
            _check.fail(function, name, "a list of arrays", _check.describe(arrays), error=TypeError)
        if len(arrays) != len(params):
            _check.fail(function, name, f"a list as long as params, {len(params)}", f"{len(arrays)} entries")
    found = {
        name: [
            _arrays.describe_array(function, f"{name}[{i}]", a, written=name != "grads") for i, a in enumerate(list_)
        ]
        for name, list_ in lists.items()
    }
    for number, (name, arrays) in enumerate(found.items()):
        for i, array in enumerate(arrays):
            _check_place(function, f"{name}[{i}]", array, place)
            _check_fits(function, f"{name}[{i}]", array, found["params"][i] if number < len(lists) - scales else array)
            if array.dtype != arrays[0].dtype:
                remedy = f"Call {function} once for each dtype."
                _check.fail(function, f"{name}[{i}]", f"{arrays[0].dtype}, as {name}[0]", array.dtype, remedy)
    columns = list(found.values())
    return _Seen(
        [np.array([array.address for array in arrays], np.int64) for arrays in columns],
        [np.array([array.size for array in arrays], np.int64) for arrays in columns],
        [arrays[0].dtype if arrays else "" for arrays in columns],
    )


def _check_place(function: str, name: str, array: _arrays.Described, place: Place) -> None:
    if same_device(array.device, place.device):
        return
    given = f"an array on {'the CPU' if array.device == 'cpu' else 'device ' + array.device}"
    wanted = "on the CPU, as params[0]" if place.on_cpu else f"on {place.device}, as params[0]"
    _check.fail(function, name, wanted, given)


def _check_fits(function: str, name: str, array: _arrays.Described, param: _arrays.Described) -> None:
    if array.layout != param.layout:
        wanted = f"laid out as its parameter, shape {param.layout[0]} with strides {param.layout[1]}"
        _check.fail(function, name, wanted, f"shape {array.layout[0]} with strides {array.layout[1]}")


def _build(
    function: str, lists: dict[str, Sequence[Any]], slots: int, settings: Settings, memory: _Seen, place: Place
) -> Any:
    counts = memory.counts[0]
    dtypes = dict(zip(lists, memory.dtypes))
    _check_dtypes(function, dtypes, slots, settings)
    addresses = dict(zip(lists, memory.addresses))
    names = list(lists)[2 : 2 + slots]
    scales = []
    for name in names:
        scale = f"scales[{name!r}]"
        if name in settings.scaled:
            _check_blocks(function, scale, counts, memory.counts[list(lists).index(scale)])
        scales.append(addresses.get(scale))
    if settings.matrices:
        rows, settings = _of_matrices(function, lists["params"], settings)
    per_tensor = {"l1": settings.l1 or None, "decay": settings.decay, "lr_scale": settings.lr_scale}
    options: dict[str, Any] = {
        name: _per_tensor(function, name, value, len(counts)) for name, value in per_tensor.items() if value is not None
    }
    if any(dtype not in ("float32", "") for dtype in dtypes.values()):
        options |= _storage(dtypes, names, settings)
    if settings.scaled:
        options["scales"] = scales
    if settings.has_master:
        options["masters"] = addresses["master"]
    if settings.seed is not None:
        options["seed"] = settings.seed
    states = [addresses[name] for name in names]
    make = place.kernels.TensorTable.of_addresses
    with place.current():
        try:
            table = make(addresses["params"], addresses["grads"], states, counts, **options)
        except ValueError as error:
            raise ValueError(_in_words_of(function, lists, error)) from None
        if settings.matrices:
            table.set_rows(rows)
        if settings.adapts is not None:
            table.set_adapts(_per_tensor(function, "adapts", settings.adapts, len(counts)))
    return table


def _in_words_of(function: str, lists: dict[str, Sequence[Any]], error: ValueError) -> str:
    """A message of the table's, of arrays that overlap, say, with the names that the caller gave."""
    names = list(lists)
    message = re.sub(r"^TensorTable[.\w]*:", f"{function}:", str(error)).replace("masters", "master")
    message = re.sub(r"states\[(\d)\]", lambda match: names[2 + int(match[1])], message)
    return re.sub(r"scales\[(\d)\]", lambda match: f"scales[{names[2 + int(match[1])]!r}]", message)


def _of_matrices(function: str, params: Sequence[Any], settings: Settings) -> tuple[np.ndarray, Settings]:
    """How many rows each matrix has as it lies in memory, and settings with a learning rate for its lengths."""
    rows, factors = np.zeros(len(params), np.int64), np.ones(len(params))
    for i, param in enumerate(params):
        name = f"params[{i}]"
        shape, strides = _arrays.describe_array(function, name, param, written=True).layout
        if len(shape) != 2:
            _check.fail(function, name, "a matrix", f"an array of shape {shape}", "Use adamw_ for it.")
        m, n = shape
        rows[i] = n if strides[0] == 1 and m > 1 else m  # the other one of the matrix and its transpose
        original = settings.matrices == "original"
        factors[i] = max(1.0, m / max(n, 1)) ** 0.5 if original else 0.2 * max(m, n, 1) ** 0.5
    scale = factors * (1.0 if settings.lr_scale is None else np.array(settings.lr_scale))
    decay = (1.0 if settings.decay is None else np.array(settings.decay)) / factors  # not by the lengths
    return rows, settings._replace(lr_scale=tuple(scale), decay=tuple(decay))


def _storage(dtypes: dict[str, str], names: list[str], settings: Settings) -> dict[str, Any]:
    def of_state(name: str) -> str:
        if name in settings.scaled:
            return "signed8" if name in _SIGNED else "unsigned8"
        return dtypes[name]

    own = {"params": dtypes["params"], "grads": dtypes["grads"], "states": [of_state(name) for name in names]}
    return {"dtypes": own | ({"masters": dtypes["master"]} if settings.has_master else {})}


def _check_dtypes(function: str, dtypes: dict[str, str], slots: int, settings: Settings) -> None:
    """Fails unless the kernels can work on arrays stored so; a list without entries has the dtype ""."""
    param = dtypes["params"]
    for name, dtype in list(dtypes.items())[: 2 + slots]:
        wanted = (param, "float32") if name == "grads" else ("uint8",) if name in settings.scaled else _FLOATS
        if dtype and dtype not in wanted:
            remedy = "" if dtype != "uint8" else f"A state of 8 bits needs its scales={{{name!r}: [...]}}."
            _check.fail(function, f"{name}[0]", " or ".join(dict.fromkeys(wanted)), dtype, remedy)
    for name in settings.scaled:
        dtype = dtypes[f"scales[{name!r}]"]
        if dtype not in ("float32", ""):
            _check.fail(function, f"scales[{name!r}][0]", "float32", dtype)
    if param == "float32" and (settings.has_master or settings.seed is not None):
        name = "master" if settings.has_master else "seed"
        _check.fail(function, name, "None where params are float32", "something else")
    kinds = ("float32", "uint16") if param == "bfloat16" else ("float32",)
    if settings.has_master and dtypes["master"] not in (*kinds, ""):
        _check.fail(function, "master[0]", "float32, or uint16 where params are bfloat16", dtypes["master"])


def _check_blocks(function: str, name: str, counts: np.ndarray, scales: np.ndarray) -> None:
    wanted = -(-counts // _BLOCK)
    for i in np.flatnonzero(wanted != scales)[:1]:
        _check.fail(function, f"{name}[{i}]", f"of {wanted[i]} elements, one for each {_BLOCK} of the state", scales[i])


def _per_tensor(function: str, name: str, value: Any, count: int) -> np.ndarray:
    """A number for each tensor, of one for all or of as many."""
    if isinstance(value, tuple):
        if len(value) != count:
            argument = {"decay": "weight_decay"}.get(name, name)
            _check.fail(function, argument, f"a list with a number for each tensor, {count}", f"{len(value)} entries")
        return np.array(value, np.float32)
    return np.full(count, value, np.float32)
