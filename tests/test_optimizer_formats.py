"""Optimizer steps over arrays of 16 bits, and what keeps the params of 16 bits exact; against float64 and NumPy."""

import numpy as np
import pytest
from references.formats import random_bits, rounded_at_random
from storage_runs import DTYPES, SIZES, adamw, arrays, assert_rounded, table_of, take, whole

from fastnn import _backend

STEPS = 50
LR = np.array([0.01])
HALVES = ["bfloat16", "float16"]


@pytest.fixture(params=[1, 3], ids=["one thread", "three"])
def threads(request, kernels):
    kernels.set_num_threads(request.param)
    yield request.param
    kernels.set_num_threads(_backend.get_num_threads())


def adamw_rule(kernels):
    return kernels.adam_rule(weight_decay=0.1, decoupled=True)


def zeros(dtype="float32"):
    return [np.zeros(size, DTYPES[dtype]) for size in SIZES]


FORMATS = [
    ("bfloat16", "bfloat16", "bfloat16"),
    ("float16", "float16", "float16"),
    ("bfloat16", "float32", "float32"),
    ("float16", "bfloat16", "float32"),
    ("float32", "bfloat16", "float16"),
]


@pytest.mark.parametrize("param, grad, state", FORMATS)
def test_each_array_is_rounded_once_a_step(param, grad, state, threads, kernels):
    params, grads, states = arrays(param, 1), arrays(grad, 2), [zeros(state), zeros(state)]
    table, rule = table_of(kernels, params, grads, states), adamw_rule(kernels)
    for t in range(1, STEPS + 1):
        take(grads, t)
        before = [[array.copy() for array in group] for group in (params, *states)]
        kernels.update(rule, table, LR, np.array([t]))
        for i, (p, m, v) in enumerate(zip(*before)):
            for what, group, exact in zip("pmv", (params, *states), adamw(p, grads[i], m, v, t, LR[0])):
                assert_rounded(group[i], exact, what)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_whole_run_stays_near_the_exact_one(dtype, kernels):
    """Fifty steps that are never set right: rounding is all that differs."""
    params, grads, states = arrays(dtype, 1), arrays(dtype, 2), [zeros(), zeros()]
    exact = [(p.astype(np.float64), np.zeros(p.size), np.zeros(p.size)) for p in params]
    table, rule = table_of(kernels, params, grads, states), adamw_rule(kernels)
    for t in range(1, STEPS + 1):
        take(grads, t)
        exact = [adamw(p, g, m, v, t, LR[0]) for (p, m, v), g in zip(exact, grads)]
        kernels.update(rule, table, LR, np.array([t]))
    worst = 0.5 * STEPS * (2.0**-8 if dtype == "bfloat16" else 2.0**-11)
    for p, m, v, (wanted_p, wanted_m, wanted_v) in zip(params, *states, exact):
        np.testing.assert_allclose(p.astype(np.float64), wanted_p, rtol=worst, atol=worst / 2)
        np.testing.assert_allclose(m, wanted_m, rtol=4e-6, atol=4e-6)
        np.testing.assert_allclose(v, wanted_v, rtol=4e-6)


def run_twins(kernels, tables, grads, wide_grads):
    rule = adamw_rule(kernels)
    for t in range(1, STEPS + 1):
        take(grads, t)
        for wide, grad in zip(wide_grads, grads):
            wide[...] = grad
        for table in tables:
            kernels.update(rule, table, LR, np.array([t]))


@pytest.mark.parametrize("kind", ["remainder", "copy"])
def test_masters_make_steps_exact(kind, threads, kernels):
    """Bit for bit as with params of float32."""
    grads, wide = arrays("bfloat16", 2), [np.zeros(size, np.float32) for size in SIZES]
    exact, rounded = [p.astype(np.float32) for p in arrays("bfloat16", 1)], arrays("bfloat16", 1)
    masters = [np.zeros(size, np.uint16) for size in SIZES] if kind == "remainder" else [p.copy() for p in exact]
    states, wide_states = [zeros(), zeros()], [zeros(), zeros()]
    tables = (
        table_of(kernels, rounded, grads, states, masters=masters),
        table_of(kernels, exact, wide, wide_states),
    )
    run_twins(kernels, tables, grads, wide)
    for p, master, wanted in zip(rounded, masters, exact):
        bits = wanted.view(np.uint32)
        if kind == "remainder":
            assert np.array_equal(p.view(np.uint16), ((bits + 0x8000) >> 16).astype(np.uint16))
            assert np.array_equal(whole(p, master).view(np.uint32), bits)
        else:
            assert np.array_equal(master.view(np.uint32), bits)
            assert np.array_equal(p, wanted.astype(p.dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_at_random_is_reproducible(dtype, threads, kernels):
    """The bits are those of Philox with the seed, the step, the tensor and the element, whatever the threads."""
    params, grads, states = arrays(dtype, 1), arrays(dtype, 2), [zeros(), zeros()]
    exact, wide, wide_states = zeros(), zeros(), [zeros(), zeros()]
    seed = 0x123456789ABCDEF
    tables = table_of(kernels, params, grads, states, seed=seed), table_of(kernels, exact, wide, wide_states)
    rule = adamw_rule(kernels)
    for t in range(1, STEPS + 1):
        take(grads, t)
        for target, source in zip(wide + exact, grads + params):
            target[...] = source
        for table in tables:
            kernels.update(rule, table, LR, np.array([t]))
        for i, (p, x) in enumerate(zip(params, exact)):
            wanted = rounded_at_random(x, random_bits(seed, t, i, x.size), p.dtype)
            assert np.array_equal(p.view(np.uint16), wanted.view(np.uint16)), (t, i)


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_at_random_is_right_on_average(dtype, kernels):
    """Steps far below half of the last place move the param all the same; the nearest number would stay for ever."""
    count, steps = 20_000, 64
    moved = {}
    for seed in (None, 1):
        param, grad = np.ones(count, DTYPES[dtype]), np.ones(count, np.float32)
        table = table_of(kernels, [param], [grad], [], seed=seed)
        for t in range(1, steps + 1):
            kernels.update(kernels.sgd_rule(), table, np.array([1e-5]), np.array([t]))
        moved[seed] = 1 - param.astype(np.float64).mean()
    assert moved[None] == 0
    assert abs(moved[1] / (steps * 1e-5) - 1) < 0.1


def every_half(dtype):
    return np.arange(65536, dtype=np.uint16).view(DTYPES[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_every_number_of_16_bits_is_read(dtype, kernels):
    grad, param = every_half(dtype), np.zeros(65536, np.float32)
    kernels.update(kernels.sgd_rule(maximize=True), table_of(kernels, [param], [grad], []), np.ones(1), np.array([1]))
    assert np.array_equal(param, grad.astype(np.float32), equal_nan=True)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("dtype", HALVES)
def test_numbers_are_rounded_to_16_bits(dtype, seed, kernels):
    """To the nearest, ties to even; those of 16 bits, infinity and NaN stay themselves at random, too."""
    own = every_half(dtype).astype(np.float32)
    rng = np.random.default_rng(2)
    others = np.ldexp(rng.uniform(-2, 2, 65536), rng.integers(-30, 18, 65536)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        ties = ((own.astype(np.float64) + np.roll(own, -1)) / 2).astype(np.float32)  # with the next one, mostly
    edges = np.float32([1e38, -1e38, 65519, 65520, 7e4])
    for grad in (own,) if seed else (own, others, ties, edges):
        param = np.zeros(grad.size, DTYPES[dtype])
        table = table_of(kernels, [param], [grad], [], seed=seed)
        kernels.update(kernels.sgd_rule(maximize=True), table, np.ones(1), np.array([1]))
        with np.errstate(over="ignore", invalid="ignore"):
            assert np.array_equal(param, grad.astype(param.dtype), equal_nan=True)


def test_nan_and_infinity_survive_the_remainder(kernels):
    param, rest = np.zeros(3, DTYPES["bfloat16"]), np.zeros(3, np.uint16)
    grad = np.array([np.nan, np.inf, -3e38], np.float32)
    table = table_of(kernels, [param], [grad], [], masters=[rest])
    kernels.update(kernels.sgd_rule(maximize=True), table, np.ones(1), np.array([1]))
    assert np.isnan(param[0]) and param[1] == np.inf and abs(float(param[2]) + 3e38) < 1e36


def test_clipping_by_norm_sees_gradients_of_16_bits(kernels):
    grads, rule = arrays("float16", 2), kernels.sgd_rule(clip_norm=0.5)
    for param in (zeros(), zeros("bfloat16")):
        kernels.update(rule, table_of(kernels, param, grads, []), np.ones(1), np.array([1]))
        total = np.sqrt(sum((p.astype(np.float64) ** 2).sum() for p in param))
        assert abs(total - 0.5) < 2e-3
