"""Steps that are skipped as a gradient isn't finite: found by the kernel itself, or by somebody before it."""

import numpy as np
import pytest
from spoilt import refused

from fastnn import _backend

RULES = ["sgd_rule", "adam_rule", "rmsprop_rule", "adagrad_rule", "lion_rule", "lamb_rule", "lars_rule", "muon_rule"]
SIZES = [3, 0, 16, 5003, 1, 300]
OPTIONS = [{}, {"clip_norm": 1.0}, {"clip_norm": 1.0, "clip_norm_per_tensor": True}, {"clip_value": 0.5}]


@pytest.fixture(params=[1, 2, 3])
def threads(request, kernels):
    kernels.set_num_threads(request.param)
    yield request.param
    kernels.set_num_threads(_backend.get_num_threads())


def tensors(slots):
    rng = np.random.default_rng(2)
    return [[rng.random(size, np.float32) for size in SIZES] for _ in range(2 + slots)]


def table_of(kernels, params, grads, states):
    table = kernels.TensorTable(params, grads, states)
    table.set_rows(np.array([4 if param.size % 4 == 0 and param.size else 1 for param in params]))
    return table


def bits(arrays):
    return [array.tobytes() for group in arrays for array in group]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", RULES)
def test_nothing_is_written(name, options, threads, kernels):
    rule = getattr(kernels, name)(skip_nonfinite=True, **options)
    params, grads, *states = tensors(rule.slots)
    table, found = table_of(kernels, params, grads, states), np.zeros(1, np.float32)
    for tensor, place, value in [
        (0, 0, np.nan),
        (2, 15, np.inf),
        (3, 5002, -np.inf),
        (3, 1600, np.nan),
        (4, 0, np.inf),
    ]:
        before, good = bits([params, *states]), grads[tensor][place]
        grads[tensor][place] = value
        found[0] = 0
        rule.step(table, 0.1, 1, found_inf=found)
        assert found[0] == 1
        rule.step(table, 0.1, 1)  # nobody asks
        assert bits([params, *states]) == before
        grads[tensor][place] = good
    found[0] = 0
    rule.step(table, 0.1, 1, found_inf=found)
    assert found[0] == 0
    assert bits([params]) != before[: len(SIZES)]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_what_was_found_before_counts(name, skip, threads, kernels):
    rule = getattr(kernels, name)(skip_nonfinite=skip)
    params, grads, *states = tensors(rule.slots)
    table, before = table_of(kernels, params, grads, states), bits([params, *states])
    rule.step(table, 0.1, 1, found_inf=np.ones(1, np.float32))
    assert bits([params, *states]) == before


def test_a_scale_that_overflows_is_found(kernels):
    param, grad, found = np.zeros(3, np.float32), np.full(3, 1e30, np.float32), np.zeros(1, np.float32)
    kernels.sgd_rule(skip_nonfinite=True).step(kernels.TensorTable([param], [grad], []), 0.1, 1, 1e10, found)
    assert found[0] == 1 and not param.any()


def test_steps_that_are_not_skipped_have_the_bits_of_others(threads, kernels):
    results = []
    for skip in (False, True):
        params, grads, *states = tensors(2)
        kernels.adam_rule(skip_nonfinite=skip, clip_norm=0.7).step(kernels.TensorTable(params, grads, states), 0.1, 1)
        results.append(bits([params, *states]))
    assert results[0] == results[1]


def test_on_a_tape():
    kernels = _backend.kernels
    param, grad, found = np.zeros(40, np.float32), np.ones(40, np.float32), np.zeros(1, np.float32)
    table, lr, step = kernels.TensorTable([param], [grad], []), np.ones(1), np.ones(1, np.int64)
    tape, rule = kernels.Tape(), kernels.sgd_rule(skip_nonfinite=True)
    tape.start()
    kernels.update(rule, table, lr, step, found)
    tape.stop()
    grad[39] = np.inf
    tape.replay(1)
    assert found[0] == 1 and (param == -1).all()
    grad[39] = 1
    tape.replay(1)  # it was found, and nobody has taken it back
    assert (param == -1).all()
    found[0] = 0
    tape.replay(1)
    assert (param == -2).all()


def test_border(kernels):
    table, rule = kernels.TensorTable([], [], []), kernels.sgd_rule()
    for bad in (np.zeros(2, np.float32), np.zeros(1), 0.0):
        message = r"found_inf must be a float32 array of shape \(1,\), got"
        refused(
            lambda bad=bad: rule.step(table, 0.1, 1, 1.0, bad), f"^UpdateRule.step: {message}", (TypeError, ValueError)
        )
        refused(
            lambda bad=bad: kernels.update(rule, table, np.ones(1), np.ones(1, np.int64), bad),
            f"^update: {message}",
            (TypeError, ValueError),
        )
