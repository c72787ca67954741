"""Every rule over arrays stored in every way: each step is the float32 step on what they stand for, rounded once."""

import numpy as np
import pytest
from references.formats import dequantized, quantized
from storage_runs import SIZES, arrays, assert_rounded, table_of, take, whole

from fastnn import _backend

# name -> (options, for each state whether it's signed)
RULES = {
    "sgd_rule": ({"momentum": 0.9, "nesterov": True}, [True]),
    "adam_rule": ({"amsgrad": True, "weight_decay": 0.1, "decoupled": True}, [True, False, False]),
    "rmsprop_rule": ({"centered": True, "momentum": 0.8, "eps": 0.1}, [False, True, True]),
    "adagrad_rule": ({"weight_decay": 0.1, "clip_value": 1.0}, [False]),
    "lion_rule": ({"weight_decay": 0.1}, [True]),
    "lamb_rule": ({"weight_decay": 0.1}, [True, False]),
    "lars_rule": ({"weight_decay": 0.1, "trust_coefficient": 0.1, "skip_nonfinite": True}, [True]),
    "muon_rule": ({"weight_decay": 0.1, "clip_norm": 10.0}, [True]),
}
ROWS = np.array([1, 1, 15, 16, 257, 1, 64])
LR = np.array([0.01])


@pytest.fixture(params=[1, 3], ids=["one thread", "three"])
def threads(request, kernels):
    kernels.set_num_threads(request.param)
    yield request.param
    kernels.set_num_threads(_backend.get_num_threads())


class Twin:
    """The same step in float32."""

    def __init__(self, kernels, slots):
        self.params, self.grads, *self.states = [
            [np.zeros(size, np.float32) for size in SIZES] for _ in range(2 + slots)
        ]
        self.table = kernels.TensorTable(self.params, self.grads, self.states)
        self.table.set_rows(ROWS)

    def hold(self, params, grads, states):
        for own, others in zip((self.params, self.grads, *self.states), (params, grads, *states), strict=True):
            for array, other in zip(own, others):
                array[...] = other


def run(kernels, name, table, params, grads, read_states, check_states, read_params=None):
    options, signs = RULES[name]
    rule, twin = getattr(kernels, name)(**options), Twin(kernels, len(signs))
    table.set_rows(ROWS)
    for t in range(1, 7):
        take(grads, t)
        twin.hold(params if read_params is None else read_params(), grads, read_states())
        for one in (table, twin.table):
            kernels.update(rule, one, LR, np.array([t]))
        for param, exact in zip(params, twin.params):
            assert_rounded(param, exact.astype(np.float64), "p")
        check_states(twin.states)


@pytest.mark.parametrize("state", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RULES)
def test_halves(name, state, threads, kernels):
    params, grads = arrays("bfloat16", 1), arrays("float16", 2)
    states = [arrays(state, 3, scale=0) for _ in RULES[name][1]]

    def check(exact):
        for group, wanted in zip(states, exact):
            for array, one in zip(group, wanted):
                assert_rounded(array, one.astype(np.float64), "state")

    run(kernels, name, table_of(kernels, params, grads, states), params, grads, lambda: states, check)


@pytest.mark.parametrize("name", RULES)
def test_remainders(name, threads, kernels):
    """Params of bfloat16 with 16 more bits are float32."""
    params, grads, rests = arrays("bfloat16", 1), arrays("bfloat16", 2), [np.zeros(size, np.uint16) for size in SIZES]
    states = [arrays("float32", 3, scale=0) for _ in RULES[name][1]]

    def read():
        return [whole(param, rest) for param, rest in zip(params, rests)]

    def check(exact):
        for group, wanted in zip(states, exact):
            for array, one in zip(group, wanted):
                np.testing.assert_allclose(array, one, rtol=1e-6, atol=1e-12)

    table = table_of(kernels, params, grads, states, masters=rests)
    run(kernels, name, table, params, grads, lambda: states, check, read)


@pytest.mark.parametrize("name", RULES)
def test_eight_bits(name, threads, kernels):
    params, grads, signs = arrays("float32", 1), arrays("float32", 2), RULES[name][1]
    codes = [[np.zeros(size, np.uint8) for size in SIZES] for _ in signs]
    scales = [[np.zeros((size + 255) // 256, np.float32) for size in SIZES] for _ in signs]

    def read():
        groups = zip(codes, scales, signs)
        return [[dequantized(*pair, signed) for pair in zip(code, scale)] for code, scale, signed in groups]

    def check(exact):
        for code, scale, signed, wanted in zip(codes, scales, signs, exact):
            for own, factor, one in zip(code, scale, wanted):
                expected, absmax = quantized(one, signed)
                np.testing.assert_allclose(factor, absmax, rtol=1e-5)  # what it was read as may cancel
                assert (own != expected).mean() < 0.02 if own.size else True

    formats = ["signed8" if signed else "unsigned8" for signed in signs]
    table = table_of(kernels, params, grads, codes, scales, formats=formats)
    run(kernels, name, table, params, grads, read, check)
