"""A stand-in for CuPy on a machine without a GPU: what fastnn uses of it, and no more.

Arrays are NumPy's, wrapped, so that whatever CuPy wouldn't do fails here too: above all, to be taken for an array on
the CPU. A stream that captures records what is called and doesn't do it; a graph does it again with the same arrays.
"""

import threading
from types import SimpleNamespace

import numpy

_state = threading.local()


def _stack():
    return _state.__dict__.setdefault("streams", [])


def _enqueue(work):
    """Does the work, or records it if the current stream captures."""
    stack = _stack()
    recorded = stack[-1].recorded if stack else None
    if recorded is None:
        work()
    else:
        recorded.append(work)


class ndarray:  # noqa: N801 (CuPy's name)
    """An array "on the GPU"."""

    __array_priority__ = 100

    def __init__(self, values, base=None):
        self._values, self.base = values, base

    @property
    def __cuda_array_interface__(self):
        interface = self._values.__array_interface__
        return {key: interface[key] for key in ("shape", "typestr", "data", "strides", "version")}

    def __array__(self, *args, **named):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use .get().")

    shape = property(lambda self: self._values.shape)
    ndim = property(lambda self: self._values.ndim)
    size = property(lambda self: self._values.size)
    dtype = property(lambda self: self._values.dtype)
    itemsize = property(lambda self: self._values.itemsize)
    nbytes = property(lambda self: self._values.nbytes)

    def __len__(self):
        return len(self._values)

    def _view(self, values):
        assert numpy.may_share_memory(values, self._values) or not values.size, "a copy, which a graph couldn't see"
        return ndarray(values, self if self.base is None else self.base)

    def reshape(self, *shape):
        return self._view(self._values.reshape(*shape))

    def __getitem__(self, key):
        values = self._values[key]
        return self._view(values if isinstance(values, numpy.ndarray) else self._values[key, ...])

    def __setitem__(self, key, values):
        if isinstance(values, numpy.ndarray):
            raise TypeError("a NumPy array where one on the GPU is wanted")
        source = values._values if isinstance(values, ndarray) else values
        _enqueue(lambda: self._values.__setitem__(key, source))

    def __isub__(self, other):
        _enqueue(lambda: numpy.subtract(self._values, other, out=self._values))
        return self

    def __imul__(self, other):
        _enqueue(lambda: numpy.multiply(self._values, other, out=self._values))
        return self

    def copy(self):
        _refuse_while_capturing("an allocation")
        return ndarray(self._values.copy())

    def get(self):
        _refuse_while_capturing("a copy to the CPU")
        return self._values.copy()

    def set(self, values, stream=None):
        assert isinstance(values, numpy.ndarray) and values.shape == self.shape and values.dtype == self.dtype
        _refuse_while_capturing("a copy from the CPU")
        self._values[...] = values

    def item(self):
        return self.get().item()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())


def _refuse_while_capturing(what):
    if _stack() and _stack()[-1].recorded is not None:
        raise RuntimeError(f"{what} while the stream captures")


def empty(shape, dtype=numpy.float32):
    """Full of what isn't likely to be taken for a result."""
    _refuse_while_capturing("an allocation")
    array = numpy.empty(shape, dtype)
    array.view(numpy.uint8).reshape(-1)[...] = 0xFF if array.size else 0
    return ndarray(array)


def zeros(shape, dtype=numpy.float32):
    _refuse_while_capturing("an allocation")
    return ndarray(numpy.zeros(shape, dtype))


def asarray(values):
    if isinstance(values, ndarray):
        return values
    _refuse_while_capturing("a copy from the CPU")
    return ndarray(numpy.array(values))


def ascontiguousarray(values, dtype=None):
    """Copies only where it must."""
    contiguous = numpy.ascontiguousarray(values._values, dtype)
    if contiguous is values._values:
        return values
    _refuse_while_capturing("an allocation")
    return ndarray(contiguous)


class Stream:
    """Does everything at once, unless it captures."""

    def __init__(self, non_blocking=False):
        self.ptr = 0
        self.recorded = None

    def __enter__(self):
        _stack().append(self)
        return self

    def __exit__(self, *error):
        assert _stack().pop() is self

    def begin_capture(self):
        assert self.recorded is None
        self.recorded = []

    def end_capture(self):
        recorded, self.recorded = self.recorded, None
        return SimpleNamespace(launch=lambda: [work() for work in recorded])

    def wait_event(self, event):
        pass

    def synchronize(self):
        _refuse_while_capturing("waiting")


class Event:
    def synchronize(self):
        pass

    def record(self, stream=None):
        pass


cuda = SimpleNamespace(
    Stream=Stream,
    Event=Event,
    get_current_stream=lambda: _stack()[-1] if _stack() else Stream(),
    alloc_pinned_memory=lambda size: bytearray(size),
    runtime=SimpleNamespace(memGetInfo=lambda: (1 << 30, 1 << 31)),
)


class Kernels:
    """An extension for GPUs whose calls are recorded where the current stream captures.

    Args:
        module: the emulated extension.
    """

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        function = getattr(self._module, name)
        if name in ("set_stream_source", "keep_arrays", "use_stream") or not callable(function):
            return function
        if isinstance(function, type) or name.endswith("_rule"):
            return function

        def call(*args, **named):
            return _enqueue(lambda: function(*args, **named)) if _capturing() else function(*args, **named)

        return call


def _capturing():
    return bool(_stack()) and _stack()[-1].recorded is not None
