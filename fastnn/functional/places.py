"""Where the arrays of a call are: the kernels for that place, and on a GPU the stream of the arrays' framework."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from fastnn import _arrays, _backend, _check

_NOTHING: AbstractContextManager[None] = contextlib.nullcontext()


class Place:
    """The CPU.

    Attributes:
        kernels: the extension module.
        device: as `_arrays.device_of` says.
    """

    on_cpu = True
    device = "cpu"

    @property
    def kernels(self) -> ModuleType:
        return _backend.kernels

    def current(self) -> AbstractContextManager[Any]:
        """While it's entered kernels are called in the order in which the framework works on the arrays."""
        return _NOTHING

    def one_float(self, function: str, name: str, array: Any) -> Any:
        """The array as one of shape (1,) if it's a writable float32 of one element in this place."""
        found = _arrays.describe_array(function, name, array, written=True)
        if found.dtype != "float32" or found.size != 1 or not same_device(found.device, self.device):
            given = f"{found.dtype} of {found.size} elements on {found.device}"
            _check.fail(function, name, f"a writable float32 array of one element on {self.device}", given)
        return array.reshape(1)


class OnGpu(Place):
    """A GPU, as the framework of an array sees it."""

    on_cpu = False

    def __init__(self, function: str, name: str, array: Any, device: str) -> None:
        self.device = device
        self._array, self._function, self._name = array, function, name

    @property
    def kernels(self) -> ModuleType:
        return _backend.cuda_kernels(self._function, self._name, self.device)

    def current(self) -> AbstractContextManager[Any]:
        torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
        if torch is not None and isinstance(self._array, torch.Tensor):
            device = self._array.device
            return OnStream(
                torch.cuda.device(device), lambda: torch.cuda.current_stream(device).cuda_stream, self.kernels
            )
        if cupy is not None and isinstance(self._array, cupy.ndarray):
            return OnStream(self._array.device, lambda: cupy.cuda.get_current_stream().ptr, self.kernels)
        return _NOTHING


class OnStream:
    """A context in which kernels are enqueued where a framework enqueues what it does on a GPU.

    Args:
        device: a context of the framework's, in which that GPU is the current one.
        stream: the address of the framework's current stream, to be called in it.
        kernels: the extension module.
    """

    def __init__(self, device: AbstractContextManager[Any], stream: Callable[[], int], kernels: Any) -> None:
        self._device, self._find, self._kernels = device, stream, kernels

    def __enter__(self) -> None:
        self._device.__enter__()
        self._stream = self._kernels.use_stream(self._find())
        self._stream.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._stream.__exit__(*error)
        self._device.__exit__(*error)


CPU = Place()


def place_of(function: str, params: Sequence[Any]) -> Place:
    """Where the first of the parameters is; the CPU if there is none."""
    if not isinstance(params, (list, tuple)) or not params:
        return CPU
    device = _arrays.device_of(params[0])
    return OnGpu(function, "params[0]", params[0], device) if device.startswith("cuda") else CPU


def same_device(one: str, other: str) -> bool:
    """Whether that may be the same device; an array that doesn't say which GPU it's on is taken to be on the right
    one."""
    return one == other or ("cuda" in (one, other) and one.startswith("cuda") and other.startswith("cuda"))
