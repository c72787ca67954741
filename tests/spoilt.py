"""Ways to spoil a good argument of a kernel, and the check that a call refuses it."""

import numpy as np
import pytest


def refused(call, message, error=ValueError):
    """The call raises `error` with a message that matches."""
    with pytest.raises(error, match=message):
        call()


def other_dtype(array):
    return array.astype(np.float32 if array.dtype != np.float32 else np.float64)


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def strided(array):
    return np.repeat(array, 2, axis=-1)[..., ::2]


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    view = np.ndarray(array.shape, array.dtype, memory.data)
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array
