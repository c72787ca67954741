"""Arguments of a kernel call on a real GPU, through CuPy, laid as placement.py lays them on the CPU."""

import cupy
import numpy as np

_GUARD = 64  # bytes before and after


def _map(function, value, kind):
    """`value` with the function applied to each array of `kind` in its dicts and lists."""
    if isinstance(value, dict):
        return {key: _map(function, item, kind) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map(function, item, kind) for item in value]
    return function(value) if isinstance(value, kind) else value


def mapped_on_gpu(function, value):
    """`value` with the function applied to each CuPy array in its dicts and lists."""
    return _map(function, value, cupy.ndarray)


class OnGpu:
    """A call's arguments, copied: guards around each array, which starts at an odd multiple of its item size.

    `aligned`: it starts where CuPy's allocator would put it, as arrays of users do.
    """

    def __init__(self, arguments, outputs, alias=None, aligned=False):
        self.outputs = outputs
        self._aligned = aligned
        self._blocks = []  # (argument's name, block, the array's view of it, where that begins)
        self.arguments = {
            name: _map(lambda array, name=name: self._place(name, array), value, np.ndarray)
            for name, value in arguments.items()
        }
        for output, source in (alias or {}).items():
            self.arguments[output] = self.arguments[source]
            self.outputs = (*self.outputs, source)
        self._before = [block.get() for _, block, _, _ in self._blocks]

    def _place(self, name, array):
        item = array.dtype.itemsize
        extent = item + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides)) if array.size else 0
        front = 256 if self._aligned else _GUARD + item
        host = np.full(front + extent + _GUARD, 0xFF, np.uint8)
        np.ndarray(array.shape, array.dtype, host.data, front, array.strides)[...] = array
        block = cupy.asarray(host)
        view = cupy.ndarray(array.shape, array.dtype, block.data + front, array.strides)
        self._blocks.append((name, block, view, front))
        return view

    def on_host(self):
        """The arguments as NumPy arrays, as they are now."""
        return mapped_on_gpu(cupy.asnumpy, self.arguments)

    def damage(self):
        """What was written that should not have been: a sentence, or "" if nothing was."""
        for (name, block, view, front), before in zip(self._blocks, self._before):
            found = block.get()
            if name in self.outputs:
                inside = np.ndarray(view.shape, view.dtype, found.data, front, view.strides)
                inside[...] = np.ndarray(view.shape, view.dtype, before.data, front, view.strides)
            if not np.array_equal(found, before):
                return f"{name}: bytes outside of the outputs were written"
        return ""


def run_on_gpu(case, kernels, compute="float32", aligned=False):
    """Runs a row on the GPU; returns (outputs as NumPy arrays, what was written that should not have been)."""
    placed = OnGpu(case.arguments(), case.outputs, case.alias, aligned)
    if compute != "float32":
        kernels.set_compute(compute)
    try:
        returned = case.call(kernels, placed.arguments)()
    finally:
        if compute != "float32":
            kernels.set_compute("float32")
    found = placed.on_host()
    return {name: returned if name == "return" else found[name] for name in case.outputs}, placed.damage()
