"""Every row of cases.py against its float64 reference: at every instruction set level, with 1, 2 and 3 threads."""

import functools
import re

import pytest
from case import arrays_in
from cases import CASES
from placement import Placed
from references.activations import GRAD_FROM_INPUT
from tolerances import difference

from fastnn import _backend

LEVELS = _backend.isa_levels()
NOT_KERNELS = {"isa", "num_threads", "set_num_threads", "TensorTable", "TensorUpdates", "xla_handlers"}
NOT_KERNELS |= {"copy_loop", "scale_loop", "multiply_add_loop"}  # they measure the machine
NOT_KERNELS |= {"TensorWatch", "describe_dlpack", "next_step", "set_steps", "borrow_threads"}  # see test_torch_dropin
NOT_KERNELS |= {"UpdateRule", "update", "updates", "add_squares", "end_update"}  # which go with every rule
NOT_KERNELS |= {"ArrayLists"}  # tables made quickly: see test_functional
# Groups of processes, in tests/test_collectives.py and its neighbours.
NOT_KERNELS |= {"CommCall", "CommFailed", "CommGroup", "CommHandle", "comm_hmac", "comm_join", "comm_sha256"}
# The state of a step, in tests/test_tape.py.
NOT_KERNELS |= {
    "Tape",
    "Predictor",
    "stop_unless_finite",
    "note_nonfinite",
    "begin_batch",
    "clear_loss",
    "advance_random",
    "store_loss",
    "begin_update",
    "end_batch",
}


@functools.lru_cache(maxsize=1)  # the levels of a row follow one another
def prepared(case):
    return case.arguments(), case.expected()


def run(case, kernels, arguments, threads):
    """Runs the row in guarded memory; returns {output: arrays}."""
    kernels.set_num_threads(threads)
    placed = Placed(arguments, case.outputs, case.alias)
    returned = case.call(kernels, placed.arguments)()
    assert not placed.damage(), f"{placed.damage()} with {threads} threads"
    return {name: returned if name == "return" else placed.arguments[name] for name in case.outputs}


def bits(outputs):
    return [array.tobytes() for array in arrays_in(outputs)]


@pytest.fixture(autouse=True)
def _restored_threads():
    yield
    for level in LEVELS:
        kernels = _backend.load_level(level)
        kernels.set_num_threads(_backend.get_num_threads())


@pytest.mark.parametrize("level", LEVELS)  # varies fastest
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_row(level, case):
    kernels = _backend.load_level(level)
    arguments, expected = prepared(case)
    # Large rows are here for the benchmarks: two threads do.
    for threads in (2,) if case.bench else (1, 2, 3):
        outputs = run(case, kernels, arguments, threads)
        for name in case.outputs:
            pairs = zip(arrays_in(outputs[name]), arrays_in(expected[name]), strict=True)
            if name == "return":
                pairs = [(outputs[name], expected[name])]
            for actual, wanted in pairs:
                found = difference(actual, wanted, case.tolerance)
                assert not found, f"{name} with {threads} threads: {found}"
        if not case.bench:
            assert bits(run(case, kernels, arguments, threads)) == bits(outputs), f"{threads} threads, run again"


# ---- the table is whole


def kernel_names():
    kernels = _backend.load_level(LEVELS[-1])
    return {
        name for name in dir(kernels) if callable(getattr(kernels, name)) and not name.startswith("_")
    } - NOT_KERNELS


def parameters(kernel):
    """The names in the signature that pybind11 writes into the docstring."""
    signature = getattr(_backend.load_level(LEVELS[-1]), kernel).__doc__.splitlines()[0]
    return re.findall(r"[(,] ?(\w+): ", signature)


def test_every_kernel_has_a_row():
    assert {case.kernel for case in CASES} == kernel_names()


def test_row_names_are_unique():
    names = [case.name for case in CASES]
    assert sorted(set(names)) == sorted(names)


def test_every_kernel_has_a_benchmark():
    assert {case.kernel for case in CASES if case.bench} == kernel_names()


@pytest.mark.parametrize("kernel", sorted(kernel_names()))
def test_every_parameter_is_varied(kernel):
    """Every array is given in some row, and every option takes two values, its default being one."""
    rows = [case for case in CASES if case.kernel == kernel and not case.bench]
    array_names = {name for case in rows for name, value in case.arguments().items() if value is not None}
    for name in parameters(kernel):
        values = {repr(case.options.get(name, "the default")) for case in rows}
        assert name == "table" or name in array_names or len(values) > 1, f"no row sets {name} away from its default"


def test_activations_are_those_of_the_references():
    kernels = _backend.load_level(LEVELS[-1])
    by_number = {number: name for name, number in kernels.ACTIVATIONS.items()}
    assert {by_number[number] for number in kernels.GRAD_FROM_INPUT} == set(GRAD_FROM_INPUT)
