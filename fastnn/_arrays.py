"""Arrays of every framework, seen as memory: NumPy, torch, CuPy, DLPack, `__cuda_array_interface__`, buffers.

Nothing is copied or converted, and no framework is imported: whoever hands over a tensor has imported its framework.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastnn import _backend, _check

_DLPACK_VERSION = (1, 0)
_DLPACK_DEVICES = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda", 10: "rocm", 11: "cpu"}  # 3, 11: pinned; 13: managed
_DLPACK_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}


class Described(NamedTuple):
    """An array in memory. Two of equal layout hold elements of the same index at the same distance from the start."""

    address: int
    size: int  # in elements
    dtype: str  # "float32", "bfloat16", ...
    device: str  # as `device_of` says
    layout: tuple[tuple[int, ...], tuple[int, ...]]  # shape, and strides in elements; 0 where they don't matter
    owner: Any  # keeps the memory alive


def order(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Strides with 0 where they don't matter: along axes of length 1, and everywhere in an empty array."""
    if 0 in shape:
        return (0,) * len(shape)
    return tuple(stride if size > 1 else 0 for size, stride in zip(shape, strides))


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements fill a stretch of memory without gaps or overlaps, whatever the order of the axes."""
    if 0 in shape:
        return True
    step = 1
    for stride, size in sorted((stride, size) for size, stride in zip(shape, strides) if size > 1):
        if stride != step:
            return False
        step *= size
    return True


def device_of(array: Any) -> str:
    """Where an array is: "cpu", "cuda:0" and so on, "cuda" if it doesn't say on which GPU; other names are torch's."""
    if type(array) is np.ndarray:
        return "cpu"
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return str(array.device)
    if hasattr(array, "__cuda_array_interface__"):
        number = getattr(getattr(array, "device", None), "id", None)  # CuPy's
        return "cuda" if number is None else f"cuda:{number}"
    if hasattr(array, "__dlpack_device__"):
        kind, number = array.__dlpack_device__()
        device = _DLPACK_DEVICES.get(int(kind), "")
        return f"cuda:{number}" if device == "cuda" else device
    return "cpu"


def describe_array(function: str, name: str, array: Any, *, written: bool) -> Described:
    """Where an array lies and what it is.

    Args:
        function, name: whose argument it is, for messages.
        array: dense in any order of its axes.
        written: whether it's changed in place.

    Raises:
        TypeError: no array, or one whose memory can't be reached.
        ValueError: it has gaps, isn't aligned or isn't native, or is read-only although it's written.
    """
    if isinstance(array, np.ndarray) and not hasattr(array, "__cuda_array_interface__"):
        return _of_numpy(function, name, array, array, written)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _of_torch(function, name, array)
    if type(array).__module__.split(".")[0] in ("jax", "jaxlib"):
        wanted = "an array that can be changed in place" if written else "an array of another framework"
        _check.fail(function, name, wanted, "a JAX array, which can't", "Use fastnn.jax.", TypeError)
    if hasattr(array, "__cuda_array_interface__"):
        return _of_cuda_interface(function, name, array, written)
    if hasattr(array, "__dlpack__"):
        return _of_dlpack(function, name, array, written)
    try:
        view = np.asarray(memoryview(array))
    except (TypeError, ValueError):
        wanted = "an array (of NumPy, torch, CuPy or anything with DLPack or the buffer protocol)"
        _check.fail(function, name, wanted, _check.describe(array), error=TypeError)
    return _of_numpy(function, name, view, array, written)


def _of_numpy(function: str, name: str, array: np.ndarray, owner: Any, written: bool) -> Described:
    if not array.dtype.isnative or not array.flags.aligned:
        given = "a byte-swapped one" if not array.dtype.isnative else "an unaligned one"
        _check.fail(function, name, "a native, aligned array", given)
    if written and not array.flags.writeable:
        _refuse_read_only(function, name)
    item = array.itemsize
    strides = [stride // item for stride in array.strides] if item else [0] * array.ndim
    if item and any(stride % item for stride in array.strides):
        _refuse_gaps(function, name, array.shape, array.strides)
    address = array.__array_interface__["data"][0]
    return _described(function, name, address, array.dtype.name, "cpu", array.shape, strides, owner)


def _of_torch(function: str, name: str, tensor: Any) -> Described:
    if str(tensor.layout) != "torch.strided":
        _check.fail(function, name, "dense", f"a tensor of layout {tensor.layout}", error=TypeError)
    if tensor.is_neg() or tensor.is_conj():
        remedy = "Pass tensor.resolve_neg().resolve_conj()."
        _check.fail(function, name, "a tensor in memory", "a negated or conjugated view", remedy)
    if tensor.device.type not in ("cpu", "cuda"):
        _check.fail(function, name, "on the CPU or a CUDA device", f"a tensor on {tensor.device}")
    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    return _described(function, name, tensor.data_ptr(), dtype, device_of(tensor), shape, tensor.stride(), tensor)


def _of_cuda_interface(function: str, name: str, array: Any, written: bool) -> Described:
    interface = array.__cuda_array_interface__
    address, read_only = interface["data"]
    if written and read_only:
        _refuse_read_only(function, name)
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    strides = interface.get("strides")
    elements = _c_strides(shape) if strides is None else [stride // dtype.itemsize for stride in strides]
    return _described(function, name, address, dtype.name, device_of(array), shape, elements, array)


def _of_dlpack(function: str, name: str, array: Any, written: bool) -> Described:
    try:
        capsule = array.__dlpack__(max_version=_DLPACK_VERSION, copy=False)
    except TypeError:  # the protocol of before 2023 takes no arguments
        capsule = array.__dlpack__()
    tensor = _backend.kernels.describe_dlpack(capsule)
    if written and tensor["read_only"]:
        _refuse_read_only(function, name)
    device = _DLPACK_DEVICES.get(tensor["device_type"], "")
    if device == "cuda":
        device = device_of(array)
    elif device != "cpu":
        _check.fail(function, name, "on the CPU or a CUDA device", f"DLPack's device type {tensor['device_type']}")
    kind = _DLPACK_KINDS.get(tensor["code"], f"kind{tensor['code']}_")
    dtype = kind if kind == "bool" else f"{kind}{tensor['bits']}"
    if tensor["lanes"] != 1:
        _check.fail(function, name, "an array of numbers", f"vectors of {tensor['lanes']}")
    shape = tensor["shape"]
    strides = _c_strides(shape) if tensor["strides"] is None else tensor["strides"]
    return _described(function, name, tensor["address"], dtype, device, shape, strides, (array, capsule))


def _described(
    function: str, name: str, address: int, dtype: str, device: str, shape: Any, strides: Sequence[int], owner: Any
) -> Described:
    if not is_dense(shape, strides):
        _refuse_gaps(function, name, shape, strides)
    return Described(address, math.prod(shape), dtype, device, (tuple(shape), order(shape, strides)), owner)


def _c_strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _refuse_gaps(function: str, name: str, shape: Any, strides: Any) -> NoReturn:
    given = f"shape {tuple(shape)} with strides {tuple(strides)}"
    _check.fail(function, name, "dense, without gaps or overlaps", given, "Pass a contiguous copy.")


def _refuse_read_only(function: str, name: str) -> NoReturn:
    _check.fail(function, name, "writable, since the result goes there", "a read-only array")
