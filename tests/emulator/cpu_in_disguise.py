"""A stand-in for the extension for GPUs: the CPU's kernels, which take the arrays of cupy_standin.py and no others.

So a model "on the GPU" must give the very bits that it gives on the CPU, and what differs is Python's side of it.
"""

import contextlib

import numpy as np
from emulator.cupy_standin import ndarray

from fastnn.data import _augment


def _inside(argument):
    """NumPy's array inside of a stand-in."""
    if isinstance(argument, ndarray):
        return argument._values
    if isinstance(argument, np.ndarray):
        raise TypeError("an array on the CPU, where one on the GPU is wanted")
    return [_inside(entry) for entry in argument] if isinstance(argument, list) else argument


class Module:
    """What fastnn._cuda has.

    Args:
        kernels: the CPU's.
    """

    def __init__(self, kernels):
        self._kernels = kernels
        self.stream_source = None
        self.computes = ["float32"]  # those that were set

    def compute(self):
        return self.computes[-1]

    def set_compute(self, compute):
        self.computes.append(compute)

    def set_stream_source(self, source):
        self.stream_source = source

    @contextlib.contextmanager
    def keep_arrays(self, arrays):
        yield

    def note_nonfinite(self, value, found):
        if not np.isfinite(_inside(value)[0]):
            _inside(found)[0] = 1

    def augment_batch(self, x, index, out, scale, shift, top, left, horizontal, vertical, state):
        x, index, out, scale, shift, state = (_inside(a) for a in (x, index, out, scale, shift, state))
        moves = np.empty((len(index), 4), np.int32)
        _augment.draw(moves, index, int(state[0]), int(state[1]), 0, top, left, horizontal, vertical)
        _augment.gather(x, index, out, moves, np.tile(scale, out.shape[2]), np.tile(shift, out.shape[2]))

    def TensorTable(self, params, grads, states, **settings):  # noqa: N802 (the kernels' name)
        return self._kernels.TensorTable(_inside(params), _inside(grads), _inside(states), **settings)

    def __getattr__(self, name):
        member = getattr(self._kernels, name)
        if not callable(member):
            return member
        return lambda *args, **named: member(
            *(_inside(argument) for argument in args), **{key: _inside(argument) for key, argument in named.items()}
        )
