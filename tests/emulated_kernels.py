"""The CUDA kernels run by the emulator, in the place of fastnn._cuda: NumPy's and torch's memory stands for a GPU's."""

import functools
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest
from emulator import build


class DeviceArray(np.ndarray):
    """What the emulated extension takes for an array on a GPU."""

    @property
    def __cuda_array_interface__(self):
        interface = self.__array_interface__
        return {key: interface[key] for key in ("shape", "typestr", "data", "strides", "version")}


def on_device(array):
    """The array, or torch's tensor, over the same memory; None stays None."""
    return None if array is None else np.asarray(array).view(DeviceArray)


@functools.cache
def load(variant="plain"):
    """The extension, built if need be."""
    try:
        path = str(build.extension(variant))
    except build.BuildError as error:
        pytest.fail(f"{error}")
    loader = ExtensionFileLoader(build.MODULE, path)
    module = module_from_spec(spec_from_file_location(build.MODULE, path, loader=loader))
    loader.exec_module(module)
    return module


class Rule:
    """A rule whose steps take arrays of the host's for those of a GPU."""

    def __init__(self, rule):
        self.rule = rule

    def step(self, table, lr, step, grad_scale=1.0, found_inf=None, loss_scale=None):
        self.rule.step(table, lr, step, grad_scale, on_device(found_inf), on_device(loss_scale))


class Kernels:
    """The extension, but for functions that take arrays: those may be the host's."""

    def __init__(self, variant="plain"):
        self._module = load(variant)

    def __getattr__(self, name):
        member = getattr(self._module, name)
        return (lambda **options: Rule(member(**options))) if name.endswith("_rule") else member

    def update(self, rule, table, lr, step, found_inf=None, square=None, loss_scale=None):
        arrays = map(on_device, (lr, step, found_inf, square, loss_scale))
        self._module.update(rule.rule, table, *arrays)

    def add_squares(self, rule, table, square, loss_scale=None):
        self._module.add_squares(rule.rule, table, on_device(square), on_device(loss_scale))

    def end_update(self, found_inf, step, skipped):
        self._module.end_update(*map(on_device, (found_inf, step, skipped)))

    def set_num_threads(self, threads):
        """A GPU has no team of threads."""
