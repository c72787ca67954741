"""Arrays for the optimizer steps of fastnn.functional, and stand-ins for those of other frameworks."""

import inspect

import numpy as np
import torch

SHAPES = [(3, 5), (17,), (1,), (0, 2)]
MATRICES = [(6, 4), (3, 8), (5, 5), (1, 4)]


def numbers(seed, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def zeros(slots, shapes=SHAPES):
    return [[np.zeros(shape, np.float32) for shape in shapes] for _ in range(slots)]


def takes_step(function):
    return "step" in inspect.signature(function).parameters


def array_of(seed, shape=(3, 4)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class OnlyDlpack:
    """An array of a framework that knows DLPack alone, in its form of 2023 or in the one before."""

    def __init__(self, memory, old=False):
        self.memory = memory
        if old:
            self.__dlpack__ = None

    def __dlpack__(self, **options):
        return self.memory.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.memory.__dlpack_device__()


class OldDlpack(OnlyDlpack):
    def __dlpack__(self):
        return torch.from_numpy(self.memory).__dlpack__()


class FakeCuda:
    """What CuPy, Numba or PyTorch say of an array on a device."""

    def __init__(self, memory, read_only=False, strides=None):
        self.__cuda_array_interface__ = {
            "data": (memory.__array_interface__["data"][0], read_only),
            "typestr": memory.dtype.str,
            "shape": memory.shape,
            "strides": strides,
            "version": 3,
        }


class FakeCupy(FakeCuda):
    """CuPy's arrays have DLPack too, which would ask the device for a stream."""

    def __dlpack__(self, **options):
        raise AssertionError("would make a stream wait")
