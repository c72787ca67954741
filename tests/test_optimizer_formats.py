"""Optimizer steps over arrays that aren't float32, against an emulation that rounds in NumPy after each step."""

import ml_dtypes
import numpy as np
import pytest

SIZES = [1, 0, 255, 256, 257, 1009, 4096]
STEPS = 50
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}


def arrays(dtype, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal(size)).astype(np.float32).astype(DTYPES[dtype]) for size in SIZES]


def addresses(group):
    return np.array([array.__array_interface__["data"][0] for array in group], np.int64)


def table_of(kernels, params, grads, states, **options):
    dtypes = {"params": params[0].dtype.name, "grads": grads[0].dtype.name, "states": [s[0].dtype.name for s in states]}
    counts = np.array([array.size for array in params], np.int64)
    places = [addresses(group) for group in (params, grads, *states)]
    return kernels.TensorTable.of_addresses(places[0], places[1], places[2:], counts, dtypes=dtypes, **options)


def emulate_adamw(param, grad, m, v, t, lr, weight_decay, clip=1.0):
    """In float64, before what is stored is rounded."""
    p, g = param.astype(np.float64), grad.astype(np.float64) * clip
    p *= 1 - lr * weight_decay
    new_m = 0.9 * m.astype(np.float64) + 0.1 * g
    new_v = 0.999 * v.astype(np.float64) + 0.001 * g * g
    p -= lr / (1 - 0.9**t) * new_m / (np.sqrt(new_v / (1 - 0.999**t)) + 1e-8)
    return p, new_m, new_v


def assert_rounded(actual, exact, what):
    """To the nearest number of the type, but for what float32's own rounding does near a tie."""
    half = np.spacing(np.abs(exact.astype(actual.dtype))).astype(np.float64) / 2
    slack = 3e-7 * (np.abs(exact) + (0 if what == "v" else 1))
    assert (np.abs(actual.astype(np.float64) - exact) <= half + slack).all(), what


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "param, grad, state",
    [
        ("bfloat16", "bfloat16", "bfloat16"),
        ("float16", "float16", "float16"),
        ("bfloat16", "bfloat16", "float32"),
        ("float16", "float32", "float32"),
        ("float32", "bfloat16", "float16"),
    ],
)
def test_formats_are_rounded_once_a_step(param, grad, state, threads, kernels):
    params, states = arrays(param, 1), [[np.zeros_like(a, DTYPES[state]) for a in arrays(param, 1)] for _ in range(2)]
    grads = arrays(grad, 2)
    table = table_of(kernels, params, grads, states)
    rule = kernels.adam_rule(weight_decay=0.1, decoupled=True)
    lr, step = np.array([0.01]), np.zeros(1, np.int64)
    kernels.set_num_threads(threads)
    for t in range(1, STEPS + 1):
        fresh = arrays(grad, 10 + t)
        for array, new in zip(grads, fresh):
            array[...] = new
        before = [[a.copy() for a in group] for group in (params, *states)]
        step[0] = t
        kernels.update(rule, table, lr, step)
        for i in range(len(SIZES)):
            exact = emulate_adamw(before[0][i], grads[i], before[1][i], before[2][i], t, 0.01, 0.1)
            for what, actual, wanted in zip("pmv", (params[i], states[0][i], states[1][i]), exact):
                assert_rounded(actual, wanted, what)
