"""The CUDA kernels against the rows of cases.py and their float64 references.

On the CPU, run by the emulator: in several orders of threads, between guards. On a GPU, where there is one:
`pytest -m gpu`. The tools that look for mistakes are in test_cuda_tools.py.
"""

import sys
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from cases import CASES
from emulator import build, rows
from emulator.device_arrays import DeviceArray

KERNELS = sorted({case.kernel for case in CASES})
# Kernels of the CPU that have no CUDA twin yet: none, and it must stay so.
NOT_YET: set[str] = set()
ON_GPU = [kernel for kernel in KERNELS if kernel not in NOT_YET]


@pytest.mark.parametrize("kernel", ON_GPU)
def test_rows_in_every_order_of_threads(kernel, monkeypatch):
    """Between guards, aligned and not; in every order of threads a row must give the same bits."""
    monkeypatch.setenv("CUEMU_SEED", "0")
    kernels, problems = rows.load("plain"), []
    for case in rows.rows_of(kernel):
        expected, seen = case.expected(), {True: set(), False: set()}
        for seed, aligned in rows.places_of(case):
            rows.in_order(seed)
            outputs, problem = rows.run_guarded(case, kernels, expected, aligned)
            seen[aligned].add(tuple(rows.bits(outputs)))
            if problem:
                problems.append(f"{case.name} with seed {seed}{', aligned' * aligned}: {problem}")
        if max(map(len, seen.values())) > 1:
            problems.append(f"{case.name}: other bits in another order of threads")
    assert not problems, "\n".join(problems[:20])


@pytest.mark.parametrize("kernel", KERNELS)
def test_list_of_kernels_without_a_twin_is_true(kernel):
    assert hasattr(rows.load("plain"), kernel) == (kernel not in NOT_YET), "take it off NOT_YET, or put it on"


def test_every_twin_has_rows_of_the_emulators_size():
    assert all(len(rows.rows_of(kernel)) > 0 and len(rows.some_rows_of(kernel)) > 0 for kernel in ON_GPU)


# ---- on a GPU


class CupyArray(DeviceArray):
    """As much of CuPy's array as gpu_arrays.py needs, in the CPU's memory."""

    def __new__(cls, shape, dtype, pointer, strides):
        return np.ndarray.__new__(cls, shape, dtype, pointer.block, pointer.offset, strides)

    @property
    def data(self):
        return Pointer(self.view(np.ndarray), 0)

    def get(self):
        return np.array(self)


@dataclass
class Pointer:
    """As much of CuPy's pointer."""

    block: np.ndarray
    offset: int

    def __add__(self, offset):
        return Pointer(self.block, self.offset + offset)


@pytest.fixture
def stand_ins(monkeypatch):
    """In place of CuPy and the extension for GPUs, so that what needs them runs here."""
    cupy = SimpleNamespace(
        ndarray=CupyArray, asarray=lambda array: np.array(array).view(CupyArray), asnumpy=lambda array: array.get()
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "fastnn._cuda", rows.load("plain"))
    monkeypatch.delitem(sys.modules, "gpu_arrays", raising=False)
    monkeypatch.syspath_prepend(str(build.ROOT / "bench" / "gpu"))
    yield
    for name in ("gpu_arrays", "drive"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("kernel", ["softmax_forward", "adam_rule", "conv2d_backward", "gemm"])
def test_what_needs_a_gpu_runs_on_stand_ins(kernel, stand_ins, monkeypatch, capsys):
    few = rows.some_rows_of(kernel)[:2]
    for case in few:
        test_row_on_the_gpu(case)
    drive = import_module("drive")
    monkeypatch.setattr(drive, "CASES", few)
    monkeypatch.setattr(drive.rows, "some_rows_of", lambda kernel: few)
    assert drive.main(hot=False) == 0 and "all as their references" in capsys.readouterr().out


def test_a_wrong_result_on_a_gpu_is_seen(stand_ins, monkeypatch):
    case = rows.some_rows_of("softmax_forward")[0]
    kernel = rows.load("plain").softmax_forward

    def wrong(x, y):
        kernel(x, y)
        y[0, 0] += 1

    monkeypatch.setitem(sys.modules, "fastnn._cuda", SimpleNamespace(softmax_forward=wrong))
    with pytest.raises(AssertionError, match="elements differ"):
        test_row_on_the_gpu(case)


@pytest.mark.gpu
@pytest.mark.parametrize("case", [case for case in CASES if case.kernel in ON_GPU], ids=lambda case: case.name)
def test_row_on_the_gpu(case):
    """Aligned and not, with every kind of product; each twice, for the same bits."""
    from gpu_arrays import run_on_gpu

    kernels, expected = import_module("fastnn._cuda"), case.expected()
    for compute in rows.computes_of(case, kernels):
        for aligned in (False, True):
            outputs, damage = run_on_gpu(case, kernels, compute, aligned)
            tolerance = None if compute == "float32" else "rounded operands"
            problem = damage or rows.disagreement(case, outputs, expected, tolerance)
            assert not problem, f"{compute}{', aligned' * aligned}: {problem}"
            again = run_on_gpu(case, kernels, compute, aligned)[0]
            assert rows.bits(again) == rows.bits(outputs), f"{compute}: run again, other bits"
