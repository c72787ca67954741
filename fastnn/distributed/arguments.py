"""The arguments of collective operations: what they may be, and their numbers in the extension."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from fastnn import _arrays, _check

# The numbers of comm::Kind, Combine, Type, Wire and Algorithm.
KINDS = {"all_reduce": 0, "reduce_scatter": 1, "all_gather": 2, "broadcast": 3, "barrier": 4}
COMBINES = {"sum": 0, "mean": 1, "max": 2, "min": 3}
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 3, "int32": 4, "int64": 5}
WIRES = {None: 0, "bfloat16": 1, "float16": 2}
ALGORITHMS = {"auto": 0, "ring": 1}
DEVICE_ALGORITHMS = {"auto": 2, "ring": 3, "nccl": 4}  # for arrays on GPUs
ITEM_SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int32": 4, "int64": 8}


def describe(function: str, name: str, array: Any, *, written: bool) -> _arrays.Described:
    """Where an array lies; fails unless it's on the CPU or a GPU of NVIDIA's, and of a dtype that can be combined."""
    what = _arrays.describe_array(function, name, array, written=written)
    if what.device != "cpu" and not what.device.startswith("cuda"):
        _check.fail(function, name, "an array in the memory of the CPU or of a GPU", f"one on {what.device}")
    if what.dtype not in TYPES:
        _check.fail(function, name, f"of dtype {', '.join(TYPES)}", what.dtype)
    return what


def layout(what: _arrays.Described) -> int:
    """A number that tells orders of elements in memory apart, for the ranks to compare: 0 for C order.

    The axes longer than 1 by their strides, three bits each, and 17 bits of a hash of shape and strides.
    """
    shape, strides = what.layout
    if strides == _arrays.order(shape, _c_strides(shape)):
        return 0
    axes = [axis for axis in sorted(range(len(shape)), key=lambda axis: -strides[axis]) if shape[axis] > 1]
    shown = axes if len(axes) <= 5 and max(axes) < 7 else []
    code = 0
    for axis in [*shown, 7, 7, 7, 7, 7][:5]:
        code = code << 3 | axis
    return code << 17 | zlib.crc32(repr((shape, strides)).encode()) & 0x1FFFF


def check_parts(
    rank: int, world: int, function: str, name: str, whole: _arrays.Described, part_name: str, part: _arrays.Described
) -> None:
    for argument, what in ((name, whole), (part_name, part)):
        shape, strides = what.layout
        if strides != _arrays.order(shape, _c_strides(shape)):
            _check.fail(function, argument, "C-contiguous", f"strides {strides} for shape {shape}")
    if whole.device != part.device:
        _check.fail(function, part_name, f"on {whole.device}, as {name} is", f"one on {part.device}")
    if whole.dtype != part.dtype:
        _check.fail(function, part_name, f"of dtype {whole.dtype}, as {name} is", part.dtype)
    if whole.size != part.size * world:
        wanted = f"{world} times the {part.size} elements of {part_name}"
        _check.fail(function, name, wanted, f"{whole.size} elements")
    item = ITEM_SIZES[part.dtype]
    begin, end = whole.address, whole.address + whole.size * item
    own = begin + rank * part.size * item
    overlaps = part.address < end and begin < part.address + part.size * item
    if part.size and overlaps and part.address != own:
        wanted = f"apart from {name}, or this rank's part of it"
        _check.fail(function, part_name, wanted, "another part of its memory")


def options(function: str, what: _arrays.Described, op: str, compression: str | None, algorithm: str) -> dict[str, int]:
    """The numbers of op, compression and algorithm; fails unless they fit the array."""
    _check.choice(function, "op", op, tuple(COMBINES))
    algorithms = ALGORITHMS if what.device == "cpu" else DEVICE_ALGORITHMS
    _check.choice(function, "algorithm", algorithm, tuple(algorithms))
    if compression is not None:
        _check.choice(function, "compression", compression, ("bfloat16", "float16"))
        if what.dtype != "float32":
            _check.fail(function, "compression", f"None for {what.dtype}", repr(compression))
    if op == "mean" and what.dtype.startswith("int"):
        _check.fail(function, "op", f"'sum', 'max' or 'min' for {what.dtype}", "'mean'", "Divide the sum yourself.")
    return {"combine": COMBINES[op], "wire": WIRES[compression], "algorithm": algorithms[algorithm]}


def _c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
