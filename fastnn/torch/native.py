"""What of torch is reached without Python: the threads of its OpenMP pool, and its tensors by handles.

Both go through functions that torch's libraries export with C linkage, found by name when fastnn.torch is imported.
Where one isn't there everything works all the same, but slower.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch

from fastnn import _backend

_POOL = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "omp_get_max_threads")
_HANDLES = ("aoti_torch_get_data_ptr", "aoti_torch_delete_tensor_object")


def _addresses(names: tuple[str, ...]) -> list[int] | None:
    """Of functions in the libraries that torch was linked with: several OpenMP runtimes may be loaded, say."""
    try:
        library = ctypes.CDLL(torch._C.__file__)
        return [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in names]
    except (OSError, AttributeError):
        return None


def borrow_threads() -> bool:
    """Makes optimizers step on the threads of torch's pool; returns False where there is no OpenMP, as on macOS.

    A thread of OpenMP that has done its share of one of torch's operations spins for milliseconds in wait of the next.
    An optimizer with threads of its own finds the cores taken then: see ``csrc/base/borrowed_threads.h``.
    """
    addresses = _addresses(_POOL)
    if addresses is not None:
        _backend.kernels.borrow_threads(*addresses)
    return addresses is not None


_make_handle = getattr(getattr(torch._C, "_aoti", None), "unsafe_alloc_void_ptr_from_tensor", None)
_handle_functions = _addresses(_HANDLES)
can_watch = (  # torch 2.10 and newer
    _make_handle is not None and _handle_functions is not None and hasattr(torch.Tensor, "__dlpack_c_exchange_api__")
)


def watch(groups: list[list[Any]], state: dict[Any, Any], names: list[str], addresses: np.ndarray) -> Any:
    """A ``kernels.TensorWatch`` over parameters and their state, or None where that isn't possible."""
    if not can_watch or _handle_functions is None:
        return None
    return _backend.kernels.TensorWatch(torch.Tensor, groups, state, names, addresses, _make_handle, *_handle_functions)
