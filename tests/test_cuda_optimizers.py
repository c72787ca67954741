"""Optimizer steps of the CUDA kernels, run by the emulator: every storage, and all that a step may be told.

The rows of cases.py are in test_cuda_kernels.py; the tests of storage are those of the CPU, with other kernels.
"""

import numpy as np
import pytest
from emulated_kernels import Kernels, on_device
from storage_runs import DTYPES, SIZES, addresses, arrays, table_of, take
from test_optimizer_8bit import (  # noqa: F401
    test_adamw_in_8_bits,
    test_every_code_comes_back,
    test_every_code_is_decoded_as_bitsandbytes_would,
    test_numbers_of_all_sizes,
    test_the_edges_of_the_cells,
    test_the_least_become_zero_and_keep_their_sign,
)
from test_optimizer_formats import (  # noqa: F401
    test_clipping_by_norm_sees_gradients_of_16_bits,
    test_each_array_is_rounded_once_a_step,
    test_every_number_of_16_bits_is_read,
    test_masters_make_steps_exact,
    test_nan_and_infinity_survive_the_remainder,
    test_numbers_are_rounded_to_16_bits,
    test_rounding_at_random_is_reproducible,
    test_rounding_at_random_is_right_on_average,
)

from fastnn import _backend

RULES = {
    "sgd_rule": 0,
    "adam_rule": 2,
    "rmsprop_rule": 1,
    "adagrad_rule": 1,
    "lion_rule": 1,
    "lamb_rule": 2,
    "muon_rule": 1,
}


@pytest.fixture(scope="session")
def kernels():
    """Instead of the CPU's."""
    return Kernels()


@pytest.fixture(params=["one run"])
def threads(request):
    """A GPU has no number of them."""
    return request.param


def run_of(module, rule, steps=3, misaligned=False, **options):
    """Arrays after some steps with options for the rule, and those for the step by their names after `step_`."""
    of_step = {key[5:]: options.pop(key) for key in list(options) if key.startswith("step_")}
    offset = 1 if misaligned else 0

    def placed(array):
        return np.concatenate([np.zeros(offset, array.dtype), array])[offset:]

    params, grads = map(placed, arrays("float32", 1)), map(placed, arrays("float32", 2))
    lists = [list(params), list(grads)]
    states = [[placed(np.zeros(size, np.float32)) for size in SIZES] for _ in range(RULES[rule])]
    table = table_of(module, *lists, states)
    if rule == "muon_rule":
        table.set_rows(np.array([max(1, size // 17 if size % 17 == 0 else 1) for size in SIZES], np.int64))
    made = getattr(module, rule)(**options)
    for t in range(1, steps + 1):
        take(lists[1], t)
        made.step(table, 0.01, t, **of_step)
    return lists[0], states


def assert_near(found, wanted):
    for one, other in zip([*found[0], *sum(found[1], [])], [*wanted[0], *sum(wanted[1], [])]):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


OPTIONS = [
    {},
    {"misaligned": True},
    {"step_grad_scale": 0.25, "weight_decay": 0.1},
    {"clip_norm": 1.0, "weight_decay": 0.1, "decoupled": True},
    {"clip_norm": 0.5, "clip_norm_per_tensor": True, "clip_value": 0.01, "maximize": True},
    {"skip_nonfinite": True},
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_with_numbers_of_the_host(rule, options, kernels):
    cpu = _backend.load_level(_backend.isa_levels()[-1])
    assert_near(run_of(kernels, rule, **options), run_of(cpu, rule, **options))


@pytest.mark.parametrize("rule", ["adam_rule", "lamb_rule", "muon_rule"])
def test_what_gradients_are_divided_by_is_read_on_the_gpu(rule, kernels):
    scale = np.array([8.0], np.float32)
    options = {"clip_norm": 0.3, "weight_decay": 0.1}
    found = run_of(kernels, rule, step_loss_scale=scale, **options)
    assert_near(found, run_of(kernels, rule, step_grad_scale=0.125, **options))


def small(kernels, **options):
    """Two tensors in one table, SGD."""
    params = [np.ones(5, np.float32), np.full(300, 2.0, np.float32)]
    grads = [np.full(5, 0.5, np.float32), np.full(300, -0.25, np.float32)]
    return params, grads, table_of(kernels, params, grads, []), kernels.sgd_rule(**options)


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"clip_norm": 1.0, "clip_norm_per_tensor": True}], ids=str)
def test_a_gradient_that_is_not_finite_skips_the_step(options, kernels):
    params, grads, table, rule = small(kernels, skip_nonfinite=True, **options)
    found, step, skipped = np.zeros(1, np.float32), np.array([1]), np.zeros(1, np.int64)
    grads[1][299] = np.inf
    before = [param.copy() for param in params]
    kernels.update(rule, table, np.array([0.1]), step, found)
    assert found[0] == 1 and all(map(np.array_equal, params, before))
    kernels.end_update(found, step, skipped)
    assert (found[0], step[0], skipped[0]) == (0, 0, 1)
    grads[1][299] = 0.0
    kernels.update(rule, table, np.array([0.1]), step, found)
    kernels.end_update(found, step, skipped)
    assert (found[0], step[0], skipped[0]) == (0, 0, 1) and not np.array_equal(params[0], before[0])


def test_a_step_is_skipped_where_others_have_found_something(kernels):
    params, _, table, rule = small(kernels)
    kernels.update(rule, table, np.array([0.1]), np.array([1]), np.ones(1, np.float32))
    assert (params[0] == 1).all() and (params[1] == 2).all()


def test_norms_over_several_tables(kernels):
    """The squares of all gradients, and one factor for all of them; a factor of the gradients counts in both."""
    params, grads, table, rule = small(kernels, clip_norm=1.0)
    square = np.zeros(1)
    for _ in range(2):
        kernels.add_squares(rule, table, square, np.array([0.5], np.float32))
    total = 2 * sum((4 * grad.astype(np.float64) ** 2).sum() for grad in grads)
    assert abs(square[0] / total - 1) < 1e-7
    kernels.update(rule, table, np.array([1.0]), np.array([1]), None, square, np.array([0.5], np.float32))
    np.testing.assert_allclose(params[0], 1 - 2 * 0.5 / np.sqrt(total), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_squares_of_several_tables_tell_that_one_is_not_finite(value, kernels):
    params, _, table, rule = small(kernels, skip_nonfinite=True)
    found = np.zeros(1, np.float32)
    kernels.update(rule, table, np.array([1.0]), np.array([1]), found, np.array([value]))
    assert found[0] == 1 and (params[0] == 1).all()


def test_results_have_the_same_bits_whatever_the_order_of_threads(kernels, monkeypatch):
    seen = set()
    for seed in range(4):
        monkeypatch.setenv("CUEMU_SEED", str(seed))
        params, states = run_of(kernels, "lamb_rule", clip_norm=0.5)
        seen.add(tuple(array.tobytes() for array in [*params, *sum(states, [])]))
    assert len(seen) == 1


def test_gradients_may_move_and_settings_change(kernels):
    params, grads, table, rule = small(kernels)
    rule.step(table, 1.0, 1)
    moved = [np.full(grad.size, 1.0, np.float32) for grad in grads]
    table.move_grads(addresses(moved))
    rule.step(table, 1.0, 2)
    np.testing.assert_array_equal(params[0], np.float32(1 - 0.5 - 1))
    np.testing.assert_array_equal(params[1], np.float32(2 + 0.25 - 1))


def test_many_tensors_in_one_table(kernels):
    """More than the arguments of one kernel hold, some of them empty."""
    sizes = [i % 7 for i in range(600)]
    params = [np.full(size, i, np.float32) for i, size in enumerate(sizes)]
    grads = [np.full(size, i + 1, np.float32) for i, size in enumerate(sizes)]
    kernels.sgd_rule().step(table_of(kernels, params, grads, []), 1.0, 1)
    assert all((param == -1).all() for param in params)


@pytest.mark.parametrize("count", [5_000, 1_100_000], ids=["numbers by each block", "numbers by a launch before"])
def test_numbers_on_the_gpu_of_few_and_of_many_elements(count, kernels):
    param, grad = np.ones(count, np.float32), np.full(count, 2.0, np.float32)
    states = [[np.zeros(count, np.float32)]]
    table = table_of(kernels, [param], [grad], states)
    kernels.update(kernels.adagrad_rule(lr_decay=0.5), table, np.array([0.1]), np.array([3]))
    np.testing.assert_allclose(param, 1 - 0.1 / (1 + 2 * 0.5), rtol=1e-6)
    assert (states[0][0] == 4).all()


def test_no_tensors_at_all(kernels):
    none = np.zeros(0, np.int64)
    table = kernels.TensorTable.of_addresses(none, none, [], none)
    for options in ({}, {"clip_norm": 1.0}, {"skip_nonfinite": True}):
        kernels.sgd_rule(**options).step(table, 1.0, 1)


def test_arrays_of_the_host_are_refused(kernels):
    params, _, table, rule = small(kernels)
    module = kernels._module
    for lr, step in ((np.ones(1), on_device(np.array([1]))), (on_device(np.ones(1)), np.array([1]))):
        with pytest.raises(TypeError, match="update: (lr|step) must be a .*, got .* in the CPU's memory"):
            module.update(rule.rule, table, lr, step)
    with pytest.raises((TypeError, ValueError), match=r"TensorTable: params\[0\] must be a float32 array"):
        module.TensorTable(params, params, [])


def test_dtypes_of_a_table_are_those_of_the_cpu(kernels):
    with pytest.raises(
        ValueError, match=r"TensorTable.of_addresses: dtypes\[params\] must be float32, bfloat16 or flo"
    ):
        table_of(kernels, [np.ones(3)], [np.ones(3)], [])
    assert set(DTYPES) == {"float32", "bfloat16", "float16"}
