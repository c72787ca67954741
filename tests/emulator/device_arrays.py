"""Stand-ins for arrays on a GPU: NumPy arrays that show themselves through `__cuda_array_interface__`."""

import ctypes
import mmap

import numpy as np
from case import map_arrays

_ROOM = 64 << 20  # bytes for the arrays of one call


class DeviceArray(np.ndarray):
    """What the emulated extension takes for an array on the GPU."""

    @property
    def __cuda_array_interface__(self):
        interface = self.__array_interface__
        return {key: interface[key] for key in ("shape", "typestr", "data", "strides", "version")}


def on_device(arguments):
    """The arguments of a call with every array as a DeviceArray over the same memory."""
    return map_arrays(lambda array: array.view(DeviceArray), arguments)


class Exact:
    """A call's arguments, copied: each array ends where its memory ends; AddressSanitizer sees what goes beyond.

    `aligned`: it starts where its memory starts too, at a multiple of 16 bytes, else one item later.
    """

    def __init__(self, arguments, alias=None, aligned=False):
        self._aligned = aligned
        self.arguments = map_arrays(self._copy, arguments)
        self.arguments.update({output: self.arguments[source] for output, source in (alias or {}).items()})

    def _copy(self, array):
        item = array.dtype.itemsize
        extent = item + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides)) if array.size else 0
        start = 0 if self._aligned else item
        block = np.full(start + extent, 0xFF, np.uint8)
        view = np.ndarray(array.shape, array.dtype, block.data, start, array.strides)
        view[...] = array
        return view


class Hidden:
    """A call's arguments, copied to pages that the emulator lets only kernels touch, as if they lay on a GPU.

    `kernels` is the extension, with every call wrapped: the pages are hidden while it runs.
    """

    def __init__(self, arguments, kernels, alias=None):
        self._pages = mmap.mmap(-1, _ROOM)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._pages))
        self._used = 0
        self.arguments = map_arrays(self._copy, arguments)
        self.arguments.update({output: self.arguments[source] for output, source in (alias or {}).items()})
        self.kernels = _Wrapped(kernels, self._hiding)
        self._hide = ctypes.CDLL(kernels.__file__).cuemu_hide
        self._hide.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def _copy(self, array):
        extent = array.dtype.itemsize + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides))
        view = np.ndarray(array.shape, array.dtype, self._pages, self._used, array.strides)
        self._used += -(-max(extent, 1) // 64) * 64 + 64
        view[...] = array
        return view

    def _hiding(self, function):
        def call(*arguments, **named):
            self._hide(self._address, _ROOM)
            try:
                return function(*arguments, **named)
            finally:
                self._hide(None, 0)

        return call


class _Wrapped:
    def __init__(self, module, wrap):
        self._module, self._wrap = module, wrap

    def __getattr__(self, name):
        member = getattr(self._module, name)
        return self._wrap(member) if callable(member) else member
