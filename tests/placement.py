"""Arrays for a kernel call, laid where an access out of bounds shows: between guards, at awkward addresses."""

import numpy as np
from case import map_arrays

_GUARD = 64  # bytes before and after


class Placed:
    """A call's arguments, copied: each array has guards around it and starts at an odd multiple of its item size.

    `aligned`: it starts at a multiple of 64 bytes instead, as an allocator's arrays do.

    Guards and the gaps between rows that lie apart hold NaN (or -1, or the largest number), so that what is read there
    shows in the result, and `damage` tells whether something was written there.
    """

    def __init__(self, arguments, outputs, alias=None, aligned=False):
        self.outputs = outputs
        self._aligned = aligned
        self._blocks = {}  # name of the argument -> [(block, array's view of it, where that begins)]
        self.arguments = {}
        for name, value in arguments.items():
            self._blocks[name] = []
            self.arguments[name] = map_arrays(lambda a, name=name: self._place(name, a), value)
        for output, source in (alias or {}).items():
            self.arguments[output] = self.arguments[source]
            self._blocks[output] = self._blocks.pop(source)
        self._before = {name: [block.copy() for block, _, _ in blocks] for name, blocks in self._blocks.items()}

    def _place(self, name, array):
        item = array.dtype.itemsize
        extent = item + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides)) if array.size else 0
        block = np.full(_GUARD + 64 + extent + _GUARD, 0xFF, np.uint8)  # a float of these bytes is NaN
        start = _GUARD + -block.ctypes.data % 64 if self._aligned else _GUARD + item
        view = np.ndarray(array.shape, array.dtype, block.data, start, array.strides)
        view[...] = array
        self._blocks[name].append((block, view, start))
        return view

    def damage(self):
        """What was written that should not have been: a sentence, or "" if nothing was."""
        for name, blocks in self._blocks.items():
            for (block, view, start), before in zip(blocks, self._before[name]):
                found = block.copy()
                if name in self.outputs:  # only the array itself may have changed
                    inside = np.ndarray(view.shape, view.dtype, found.data, start, view.strides)
                    inside[...] = np.ndarray(view.shape, view.dtype, before.data, start, view.strides)
                if not np.array_equal(found, before):
                    return f"{name}: bytes outside of the outputs were written"
        return ""

    def unchanged(self):
        """Whether no byte of any argument has changed."""
        return all(
            np.array_equal(block, before)
            for name, blocks in self._blocks.items()
            for (block, _, _), before in zip(blocks, self._before[name])
        )
