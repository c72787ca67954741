"""Every kernel's benchmark rows, with GB/s, GFLOP/s and the share of this machine's limit as extra columns."""

import pytest
from case import arrays_in, map_arrays
from cases import BENCH, CASES

from fastnn import _backend
from fastnn.benchmark import table

BOTH_READ_AND_WRITTEN = ("params", "states")


def aligned(array):
    copy = _backend.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def arguments_of(case):
    """The row's arrays where the package would put them, outputs that lie in place of an input included."""
    arguments = map_arrays(aligned, case.arguments())
    return {**arguments, **{output: arguments[source] for output, source in case.alias.items()}}


def bytes_of(case, arguments):
    """(bytes moved, bytes touched): each array once, those that are both read and written twice."""
    touched = sum(array.nbytes for array in {id(array): array for array in arrays_in(arguments)}.values())
    again = BOTH_READ_AND_WRITTEN + tuple(case.alias)
    moved = touched + sum(array.nbytes for name in again for array in arrays_in(arguments.get(name)))
    return case.bytes or moved, touched


@pytest.mark.parametrize("case", BENCH, ids=lambda case: case.name)
def test_kernel(case, benchmark, found):
    arguments = arguments_of(case)
    benchmark.group = case.kernel
    benchmark(case.call(_backend.kernels, arguments))
    moved, touched = bytes_of(case, arguments)
    seconds = benchmark.stats.stats.median
    row = table.kernel_row(case.name, seconds, case.flops, moved, touched, found)
    benchmark.extra_info |= dict(zip(table.KERNEL_HEADER, row))


def test_every_kernel_has_a_row():
    assert {case.kernel for case in CASES} == {case.kernel for case in BENCH}
